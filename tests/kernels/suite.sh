#!/bin/sh
# All tests of a guest. Standard output is the console; results go out over the second serial port: the kernel's
# release, pytest's exit code, its JUnit report.
export PATH=/usr/sbin:/usr/bin HOME=/root LC_ALL=C.UTF-8 CI=1
export KILLDEER_GUEST=1 # tests may use up the machine's memory

cd /killdeer || exit
/opt/killdeer/bin/python3 -m pytest -v --color=no -p no:cacheprovider -o timeout=900 --junitxml=/tmp/report.xml tests/kernel tests/kernels/inside </dev/null 2>&1
code=$?
{ uname -r; echo $code; cat /tmp/report.xml; } >/dev/ttyS1
