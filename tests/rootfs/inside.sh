#!/bin/bash
# What `prove.sh` runs inside: install, check, start, hang, upgrade, broken upgrade, cuts, uninstall.
set -euo pipefail
cd /srv
step() { echo "--- $*"; }
fail() { echo "FAILED: $*"; journalctl --no-pager -u edge-agent -n 30 || true; exit 1; }
expect() { # expect CODE COMMAND…: runs it, fails unless it exits so
    local want=$1 got=0
    shift
    "$@" >/srv/out 2>&1 || got=$?
    [ "$got" = "$want" ] || { cat /srv/out; fail "$* exited $got, not $want"; }
}
tree() { # what an uninstall must give back: all but what a running system writes by itself
    find / -xdev \( -path /srv -o -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log \
        -o -path /var/cache -o -path /var/lib/systemd -o -path /root -o -path /dev \) -prune \
        -o ! -name '*-' -printf '%P %y %m %u %g %l\n' | sort
    for file in /etc/passwd /etc/group; do md5sum <$file; done
}
environment() { # environment NAME VERSION: the technician's virtual environment
    python3 -m venv --without-pip "$1"
    cp -a /srv/lib/. "$1"/lib/python3*/site-packages/
    sed -i "s/^__version__ = .*/__version__ = \"$2\"/" "$1"/lib/python3*/site-packages/edge_agent/__init__.py
    printf '#!/srv/%s/bin/python\nimport sys\nfrom edge_agent.cli import main\nsys.exit(main())\n' "$1" >"$1/bin/edge-agent"
    chmod +x "$1/bin/edge-agent"
}
until_true() { # until_true SECONDS COMMAND…
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "not within the time: $*"
        sleep 0.3
    done
}
main_pid() { systemctl show -P MainPID edge-agent; }
current() { readlink /opt/edge-agent/current; }
mkdir -p /etc/systemd/system/multi-user.target.wants

environment one 1.0.0
environment two 2.0.0
environment bad 3.0.0
sed -i '0,/^    """Exit 0 after/s//    return 1\n    """Exit 0 after/' bad/lib/python3*/site-packages/edge_agent/cli/run.py
tree >before

step "a dry run, a user, a full disk, another system: nothing is changed"
expect 0 one/bin/edge-agent install --dry-run
grep -q 'create  /etc/systemd/system/edge-agent.service' out
grep -q 'run     systemctl daemon-reload' out
expect 77 setpriv --reuid=65534 one/bin/edge-agent install
mount -t tmpfs -o size=100M none /opt
expect 69 one/bin/edge-agent install
grep -q 'nothing was changed' out
umount /opt
mount --bind /opt /opt && mount -o remount,bind,ro /opt
expect 69 one/bin/edge-agent install
grep -q 'read-only' out
umount /opt
cp /etc/os-release /srv/os-release && sed 's/^ID=.*/ID=fedora/' /srv/os-release >/srv/fedora
mount --bind /srv/fedora /usr/lib/os-release
expect 1 one/bin/edge-agent install
grep -q 'what install would do' out
umount /usr/lib/os-release
tree | diff before - || fail "something was changed"

step "killed ten times on the way, then installed; a second run has nothing to do"
for n in 1 2 3 4 5 6 7 8 9 10; do
    one/bin/edge-agent install >/dev/null 2>&1 &
    sleep 0.$((RANDOM % 9))$((RANDOM % 9))
    [ $((n % 3)) = 0 ] && sleep $((RANDOM % 12))
    kill -9 $! 2>/dev/null || true
    wait $! 2>/dev/null || true
done
expect 0 one/bin/edge-agent install
expect 0 one/bin/edge-agent install
grep -q 'nothing was to do' out
case $(current) in releases/1.0.0-*) ;; *) fail "$(current)" ;; esac
getent passwd edge-agent >/dev/null || fail "no account"
expect 0 edge-agent --version
(flock 9; sleep 3) 9</etc &
sleep 0.5
expect 75 one/bin/edge-agent install
wait

step "without a configuration it waits; by the picture of a label it enrols, also after a full and a read-only disk"
systemctl start edge-agent
[ "$(systemctl is-active edge-agent || true)" = inactive ] || fail "it ran without a configuration"
expect 0 edge-agent centre ca init --dir ca
systemd-run --quiet --unit=ca /opt/edge-agent/current/bin/edge-agent centre ca run --dir /srv/ca --listen 127.0.0.1:8470
until_true 60 bash -c 'exec 3<>/dev/tcp/127.0.0.1/8470'
expect 0 edge-agent centre ca claim rootfs --server 127.0.0.1 --site-config agent.toml --label label.png --dir ca
mount -t tmpfs -o size=8k none /var/lib/edge-agent # the key and the CA's certificate fit
expect 69 edge-agent enrol --qr label.png
grep -q 'No space left' out || { cat out; fail "it does not say why"; }
[ -z "$(find /var/lib/edge-agent -name '*.part')" ] || fail "something is half written"
mount -o remount,size=1m /var/lib/edge-agent
expect 0 edge-agent enrol --qr label.png # by the same key: the claim is good for it alone
umount /var/lib/edge-agent
expect 0 edge-agent centre ca claim rootfs --server 127.0.0.1 --label label.png --dir ca
mount --bind /var/lib/edge-agent /var/lib/edge-agent && mount -o remount,bind,ro /var/lib/edge-agent
expect 69 edge-agent enrol --qr label.png
grep -q 'Read-only' out || { cat out; fail "it does not say why"; }
umount /var/lib/edge-agent
expect 0 edge-agent enrol --qr label.png
expect 0 edge-agent enrol --qr label.png
expect 0 edge-agent enrol --status
[ "$(stat -c %U:%a /var/lib/edge-agent/identity/device.key)" = edge-agent:600 ] || fail "the key is somebody else's"
systemctl start edge-agent-renew.service || fail "renewal"
cmp agent.toml /etc/edge-agent/agent.toml || fail "it did not get the site's configuration"

step "what the site wants is checked and runs; as root, by hand, it does not"
expect 78 edge-agent run -c /etc/edge-agent/agent.toml # no service manager, so no credentials
echo secret >cameras
expect 77 env CREDENTIALS_DIRECTORY=/srv edge-agent run -c /etc/edge-agent/agent.toml
expect 0 edge-agent check -c /etc/edge-agent/agent.toml
if edge-agent doctor --help >/dev/null 2>&1; then
    edge-agent doctor -c /etc/edge-agent/agent.toml --json >doctor.json 2>doctor.err || true
    [ -s doctor.json ] || { cat doctor.err; fail "doctor says nothing"; }
fi
install -D -m 600 cameras /etc/credstore/edge-agent.cameras
systemctl start edge-agent
[ "$(ls /run/credentials/edge-agent.service)" = cameras ] || fail "the secret is not handed over"
[ "$(stat -c %U /var/lib/edge-agent/lock)" = edge-agent ] || fail "it runs as somebody else"
systemd-analyze security --no-pager edge-agent.service | tail -1
expect 0 edge-agent status -c /etc/edge-agent/agent.toml
systemctl start edge-agent-retention.service || fail "retention"
systemctl is-active edge-agent-drift.timer edge-agent-retention.timer >/dev/null || fail "timers"

step "a detector that asks for it runs in a process of its own, which has no network"
cat eyes.toml >>/etc/edge-agent/agent.toml
expect 0 edge-agent install
until_true 90 systemctl is-active edge-agent-detector@eyes.service
until_true 60 bash -c "edge-agent status -c /etc/edge-agent/agent.toml | grep -q 'detector.eyes.frames: [1-9]'"
sed 1,2d "/proc/$(systemctl show -P MainPID edge-agent-detector@eyes.service)/net/dev" >links
[ "$(wc -l <links)" = 1 ] && grep -q '^ *lo:' links || { cat links; fail "it has a network"; }

step "a loop that hangs is started again by systemd's watchdog"
mkdir -p /run/systemd/system/edge-agent.service.d
printf '[Service]\nWatchdogSec=5\nTimeoutAbortSec=3\n' >/run/systemd/system/edge-agent.service.d/quick.conf
systemctl daemon-reload && systemctl restart edge-agent
pid=$(main_pid)
kill -STOP "$pid"
until_true 60 bash -c "[ \$(systemctl show -P MainPID edge-agent) != $pid ] && systemctl is-active edge-agent"
journalctl --no-pager -u edge-agent | grep -q 'Watchdog timeout' || fail "no watchdog in the journal"
rm -r /run/systemd/system/edge-agent.service.d && systemctl daemon-reload

step "an upgrade runs for a minute and has settled"
expect 0 two/bin/edge-agent install --json
grep -q '"state":"installed and settled"' out || { cat out; fail "not settled"; }
case $(current) in releases/2.0.0-*) ;; *) fail "$(current)" ;; esac

step "a broken upgrade fails three starts, and the release before it is back"
expect 1 bad/bin/edge-agent install --json
grep -q '"state":"rolled back"' out || { cat out; fail "not rolled back"; }
case $(current) in releases/2.0.0-*) ;; *) fail "$(current)" ;; esac
until_true 30 systemctl is-active edge-agent
[ "$(edge-agent --version)" = "edge-agent 2.0.0" ] || fail "another version runs"

step "a release that does not take the configuration is not even switched to"
echo 'nonsense = 1' >>/etc/edge-agent/agent.toml
expect 69 one/bin/edge-agent install
case $(current) in releases/2.0.0-*) ;; *) fail "$(current)" ;; esac

step "wiped, with a certificate of deletion"
systemctl stop edge-agent ca
expect 0 edge-agent wipe -c /etc/edge-agent/agent.toml --yes --out /srv/deleted.json
[ ! -e /var/lib/edge-agent/identity/device.key ] || fail "the key is still there"
grep -q 'device.key' deleted.json || { cat deleted.json; fail "the certificate does not name it"; }

step "uninstall keeps what is the site's; with --purge nothing is left"
expect 0 edge-agent uninstall
[ -f /etc/edge-agent/agent.toml ] || fail "the configuration is gone"
expect 0 two/bin/edge-agent uninstall --purge --yes
[ ! -e /etc/credstore/edge-agent.cameras ] || fail "a secret is still there"
grep -q '^etc/credstore d' before || rmdir /etc/credstore # made here, above
systemctl is-active edge-agent >/dev/null && fail "it still runs"
tree | diff before - || fail "something was left"
echo "all of it held"
