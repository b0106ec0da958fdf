#!/bin/busybox sh
# First process of the guest. Results go to the second serial port, so that no kernel message can
# cut a line of them; each result is framed by `@@weft begin NAME` and `@@weft end NAME CODE`.

export PATH=/bin
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s /bin
mount -t tmpfs tmpfs /tmp
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up

stty -F /dev/ttyS1 raw -echo
exec 3>/dev/ttyS1

begin() { printf '\n@@weft begin %s\n' "$1" >&3; }
end() { printf '\n@@weft end %s %s\n' "$1" "$2" >&3; }

step() {
    name=$1
    shift
    begin "$name"
    timeout 60 "$@" >&3 2>&1
    end "$name" $?
}

# await SECONDS COMMAND...: until the command succeeds.
await() {
    ticks=$(($1 * 5))
    shift
    until "$@"; do
        ticks=$((ticks - 1))
        [ "$ticks" -gt 0 ] || return 1
        usleep 200000
    done
}

is_settled() { grep -q '^weft: ready' /tmp/log || [ -e /tmp/code ]; }
is_ended() { [ -e /tmp/code ]; }

trace() {
    door=$1
    rm -f /tmp/code
    : >/tmp/log
    (
        weft run --door "$door" --output json --duration 300 >/tmp/spans 2>/tmp/log
        echo $? >/tmp/code
    ) &
    await 150 is_settled

    if ! is_ended; then
        begin "requests $door"
        while read -r url; do
            wget -q -O /dev/null "$url" 2>/dev/null
            echo "$? $url" >&3
        done </smoke/requests
        end "requests $door" 0
        # Spans leave within two seconds with default settings.
        sleep 3
        killall -TERM weft
    fi

    await 15 is_ended || killall -KILL weft
    begin "log $door"
    cat /tmp/log >&3
    end "log $door" "$(cat /tmp/code 2>/dev/null || echo 137)"
    begin "spans $door"
    cat /tmp/spans >&3
    end "spans $door" 0
}

step doctor weft doctor
step verifier weft doctor --verifier
httpd -p 8080 -h /smoke/www
while read -r door; do
    trace "$door" </dev/null
done </smoke/doors

printf '\n@@weft done\n' >&3
exec 3>&-
# QEMU was told to end instead of rebooting.
reboot -f
