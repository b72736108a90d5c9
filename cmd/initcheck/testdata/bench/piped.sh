#!/bin/sh
# What check.c does, as people write it, and frugally: no source is read twice.
stamp=/run/initcheck/pass
rm -f "$stamp"

refuse() {
	echo "piped: refuse: $*" >&2
	exit 1
}

policy=/usr/lib/kerngate/policy.toml
floor=$(sed -n 's/^floor = "\(.*\)"$/\1/p' "$policy")
blocked=$(sed -n 's/^name = "\(.*\)"$/\1/p' "$policy" | paste -sd '|')
[ -n "$floor" ] && [ -n "$blocked" ] || refuse 'the policy has no floor or no module'

running=$(uname -r | cut -d- -f1)
lowest=$(printf '%s\n%s\n' "$floor" "$running" | sort -V | head -n 1)
[ "$lowest" = "$floor" ] || refuse "kernel $running is below the floor $floor"

! lsmod | cut -d' ' -f1 | grep -Eqx "$blocked" || refuse 'a module is loaded'
! ls /sys/module | grep -Eqx "$blocked" || refuse 'a module is present'
! tr - _ <"/usr/lib/modules/$(uname -r)/modules.builtin" | grep -Eq "/($blocked)\\.ko\$" || refuse 'a module is built in'
! grep -Eq '^(ALG|RXRPC) ' /proc/net/protocols || refuse 'a protocol is there'
echo pass >"$stamp"
