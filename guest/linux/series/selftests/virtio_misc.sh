#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Timers of virtio-misc, as programs see them

KSFT_SKIP=4
number=0
failed=0
here=$(dirname "$0")

if [ ! -e /dev/virtio-timer0 ]; then
	echo "1..0 # SKIP there is no virtio-misc device"
	exit $KSFT_SKIP
fi

check() {
	name=$1
	shift
	number=$((number + 1))
	if "$@" >/tmp/virtio_misc.$$ 2>&1; then
		echo "ok $number - $name"
	else
		echo "not ok $number - $name"
		failed=1
	fi
	sed 's/^/# /' /tmp/virtio_misc.$$
	rm -f /tmp/virtio_misc.$$
}

echo "TAP version 13"
echo "1..5"
check "timers expire in order" "$here/misc-timer" 300 100 200
check "a periodic timer" "$here/misc-timer" --periodic 5 20
check "a timer in nanoseconds" "$here/misc-timer" --ns 1500000
check "a cancelled timer" "$here/misc-timer" --cancel 2 50 100
check "many, a third cancelled" "$here/misc-timer-stress" --processes 4 \
	--timers 1000 --max-ms 1000 --cancel-third

exit $failed
