#!/bin/sh
# The guest's first process. Standard output is the console; results go out over the second serial port:
# the kernel's release, pytest's exit code, its JUnit report.
export PATH=/usr/sbin:/usr/bin HOME=/root LC_ALL=C.UTF-8 CI=1
export PYTHONPATH=/killdeer/site:/killdeer/proto:/killdeer/agent
export KILLDEER_GUEST=1 # tests may use up the machine's memory
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo +memory >/sys/fs/cgroup/cgroup.subtree_control

cd /killdeer || exit
python3 -m pytest -v --color=no -p no:cacheprovider -o timeout=300 --junitxml=/tmp/report.xml tests/kernel </dev/null 2>&1
code=$?
{ uname -r; echo $code; cat /tmp/report.xml; } >/dev/ttyS1
echo o >/proc/sysrq-trigger
sleep 60 # it powers off while we wait
