// SPDX-License-Identifier: MIT
/* ring-size INTERFACE RX TX: what ethtool -G does, and then what ethtool -g says. */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct ethtool_ringparam ring = { .cmd = ETHTOOL_GRINGPARAM };
	struct ifreq request = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (argc != 4 || fd < 0) {
		fprintf(stderr, "usage: ring-size INTERFACE RX TX\n");
		return 2;
	}
	strncpy(request.ifr_name, argv[1], IFNAMSIZ - 1);
	request.ifr_data = (char *)&ring;
	if (ioctl(fd, SIOCETHTOOL, &request)) {
		perror("ETHTOOL_GRINGPARAM");
		return 1;
	}
	ring.cmd = ETHTOOL_SRINGPARAM;
	ring.rx_pending = atoi(argv[2]);
	ring.tx_pending = atoi(argv[3]);
	if (ioctl(fd, SIOCETHTOOL, &request)) {
		perror("ETHTOOL_SRINGPARAM");
		return 1;
	}
	ring.cmd = ETHTOOL_GRINGPARAM;
	if (ioctl(fd, SIOCETHTOOL, &request)) {
		perror("ETHTOOL_GRINGPARAM");
		return 1;
	}
	printf("rings of %u and %u\n", ring.rx_pending, ring.tx_pending);
	return 0;
}
