"""Runs a command in this network namespace, in which 10.9.0.2 is this machine, far away.

relay.py MILLISECONDS COMMAND [ARGUMENT ...]

Packets to 10.9.0.2 go through a TUN device. They come back after that time with their addresses exchanged: from
10.9.0.2 to 10.9.0.1. So the kernel measures a round trip of twice the time (tcp(7), TCP_INFO).
"""

import fcntl
import heapq
import os
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000

delay = float(sys.argv[1]) / 1000
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", b"far", IFF_TUN | IFF_NO_PI))
for command in ("link set lo up", "addr add 10.9.0.1/24 dev far", "link set far up"):
    subprocess.check_call(["ip", *command.split()])
child = subprocess.Popen(sys.argv[2:])
under_way, number = [], 0
while child.poll() is None:
    now = time.monotonic()
    while under_way and under_way[0][0] <= now:
        os.write(tun, heapq.heappop(under_way)[2])
    pause = min(0.1, under_way[0][0] - now) if under_way else 0.1
    if select.select([tun], [], [], pause)[0]:
        packet = os.read(tun, 65536)
        if packet[0] >> 4 == 4:
            exchanged = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
            heapq.heappush(under_way, (time.monotonic() + delay, number, exchanged))
            number += 1
sys.exit(child.returncode)
