// A guest of the tests is emulated, on every machine: what they see is the same then.
process.env.VIRTIO_MISC_ACCEL ??= 'tcg';
