/** What process 1 mounts, as fstab(5) has it. Each program that it need not start shortens an emulated boot. */
export const GUEST_FSTAB: string = `proc /proc proc
sys /sys sysfs
debug /sys/kernel/debug debugfs
pts /dev/pts devpts
run /run tmpfs
tmp /tmp tmpfs
`;

/**
 * Process 1 of the guest. It loads the drivers of the devices that are there, then does what the host asks for on the second
 * serial port, one line each way at a time:
 *
 * guest to host: `ready` after each boot, `alive` now and then, `unloadable MODULES`, `exit STATUS`.
 * host to guest: `run MODULES COMMAND` (names with commas between, or `-`; base64), `shell MODULES TERM ROWS COLUMNS`, `size ROWS COLUMNS`
 * while that runs, `reboot`, `poweroff`.
 *
 * The first serial port is the console: the kernel's messages, and the command's output or the shell.
 */
export const GUEST_INIT: string = `#!/bin/busybox sh
export PATH=/bin HOME=/root TERM=dumb
mount -t devtmpfs dev /dev
cp -a /lib/dev/. /dev/
mount -a
exec </dev/console >/dev/console 2>&1

# A driver may bring devices for another one: the bus, then what is on it, then what that provides.
drivers() {
  names=
  for file; do [ -f "$file" ] && read -r name <"$file" && names="$names $name"; done
  [ -z "$names" ] || modprobe -aq $names 2>/dev/null
}
modprobe -a virtio_pci virtio_mmio
drivers /sys/bus/virtio/devices/*/modalias
drivers /sys/class/input/*/modalias

# Where the programs are too: ./virtio 10 works.
cd /root
exec 3<>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo
# A shell as process 1 gets these from reboot and poweroff without -f.
trap 'reboot -f' TERM
trap 'poweroff -f' USR1 USR2

echo ready >&3
while sleep 2; do echo alive; done >&3 &

load() {
  read -r words </proc/cmdline
  case $words in *quiet*) echo 7 >/proc/sys/kernel/printk ;; esac
  modules=$(echo "$1" | tr , ' ')
  [ "$modules" = - ] || modprobe -a $modules && return
  echo "unloadable $modules" >&3
  false
}

# A line is read by a process of its own: this one is told of every orphan that ends, which makes its shell forget what it had read
# of a line. It must not stand still meanwhile, or the dead would fill the table of processes, and reboot's signal would wait.
while
  (read -r line && echo "$line" >/run/said) <&3 &
  wait $!
do
  read -r verb modules command </run/said
  case $verb in
  run)
    load "$modules" || continue
    command=$(echo "$command" | base64 -d)
    setsid sh -c "$command" </dev/null 3>&- &
    wait $!
    status=$?
    # Setting a terminal waits for its output to be out.
    stty -F /dev/console -onlcr
    echo "exit $status" >&3
    ;;
  shell)
    load "$modules" || continue
    set -- $command
    stty -F /dev/ttyS0 rows $2 cols $3
    # A job in the background would ignore Ctrl-C, and so would all that it starts: setsid goes there by itself when it is told to
    # leave a group that it leads. The controlling terminal of it all can't be /dev/console.
    TERM=$1 PS1='guest:\\w\\$ ' setsid sh -c 'exec setsid -c sh -c "sh -l 3>&-; echo exit \\$? >&3"' </dev/ttyS0 >/dev/ttyS0 2>&1
    ;;
  size) stty -F /dev/ttyS0 rows $modules cols $command ;;
  reboot | poweroff)
    stty -F /dev/ttyS1 raw
    $verb -f
    ;;
  esac
done
`;
