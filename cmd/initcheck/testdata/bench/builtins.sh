#!/bin/sh
# What check.c does, in builtins of dash only: no process is started.
stamp=/run/initcheck/pass

refuse() {
	echo "builtins: refuse: $*" >&2
	exit 1
}

# The stamp of before: a shell cannot remove a file by itself, so it is emptied, and counts
# only with the word in it.
: >"$stamp"

blocked=' ' floor=
while read -r key equals value; do
	value=${value#\"} value=${value%\"}
	case $key in
	floor) floor=$value ;;
	name) blocked="$blocked$value " ;;
	esac
done </usr/lib/kerngate/policy.toml || refuse 'cannot read the policy'
[ -n "$floor" ] && [ "$blocked" != ' ' ] || refuse 'the policy has no floor or no module'

read -r boot </proc/sys/kernel/random/boot_id || refuse 'cannot read the boot id'
read -r uptime rest </proc/uptime || refuse 'cannot read the uptime'
read -r release </proc/sys/kernel/osrelease || refuse 'cannot tell which kernel runs'

for name in /sys/module/*; do
	case $blocked in *" ${name##*/} "*) refuse "$name" ;; esac
done

while read -r protocol rest; do
	case $protocol in ALG | RXRPC) refuse "protocol $protocol" ;; esac
done </proc/net/protocols || refuse 'cannot read /proc/net/protocols'

while read -r name rest; do
	case $blocked in *" $name "*) refuse "module $name is loaded" ;; esac
done </proc/modules || refuse 'cannot read /proc/modules'

while read -r file; do
	name=${file##*/} name=${name%.ko}
	case $name in *-*)
		left=$name name=
		while :; do
			case $left in *-*) name=$name${left%%-*}_ left=${left#*-} ;; *) break ;; esac
		done
		name=$name$left
		;;
	esac
	case $blocked in *" $name "*) refuse "module $name is built in" ;; esac
done <"/usr/lib/modules/$release/modules.builtin" || refuse 'cannot read modules.builtin'

IFS=.-+
set -- $floor
want1=$1 want2=${2:-0} want3=${3:-0}
set -- $release
got1=$1 got2=${2:-0} got3=${3:-0}
case $got3 in *[!0-9]*) got3=0 ;; esac
[ "$got1" -gt "$want1" ] || { [ "$got1" -eq "$want1" ] && { [ "$got2" -gt "$want2" ] || { [ "$got2" -eq "$want2" ] && [ "$got3" -ge "$want3" ]; }; }; } ||
	refuse "kernel $release is below the floor $floor"
echo pass >"$stamp"
