//go:build linux

package main

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// native writes numbers in the order of the machine, as netlink wants them.
var native = binary.NativeEndian

// message puts a header before the body of a netlink request.
func message(kind, flags uint16, body []byte) []byte {
	var b []byte
	b = native.AppendUint32(b, uint32(unix.SizeofNlMsghdr+len(body)))
	b = native.AppendUint16(b, kind)
	b = native.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = native.AppendUint32(b, 1) // sequence
	b = native.AppendUint32(b, 0) // from whoever sends
	return append(b, body...)
}

// attribute is a netlink attribute, padded to four bytes.
func attribute(kind uint16, value []byte) []byte {
	var b []byte
	b = native.AppendUint16(b, uint16(4+len(value)))
	b = native.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, -len(b)&3)...)
}

// Numbers of include/uapi/linux/xfrm.h that x/sys has not.
const (
	xfrmMessageNewState = 0x10
	xfrmAttributeCrypt  = 2
	xfrmAttributeAuth   = 1
	sizeofStateInfo     = 224 // struct xfrm_usersa_info
)

// espState asks for an ESP state between two loopback addresses: struct
// xfrm_usersa_info, with a null cipher and a keyed hash. The state lasts until the
// module is taken out or its name space ends, so it is made to expire at once.
func espState(family uint16) []byte {
	info := make([]byte, sizeofStateInfo)
	const id, source, limits, familyAt = 56, 80, 96, 212 // offsets of members
	address := []byte{127, 0, 0, 1}
	if family == unix.AF_INET6 {
		address = append(make([]byte, 15), 1)
	}
	copy(info[id:], address)
	binary.BigEndian.PutUint32(info[id+16:], 0x1000) // SPI
	info[id+20] = unix.IPPROTO_ESP
	copy(info[source:], address)
	for at := limits; at < limits+32; at += 8 {
		native.PutUint64(info[at:], ^uint64(0)) // no limit of bytes or packets
	}
	native.PutUint64(info[limits+32:], 0)
	native.PutUint64(info[limits+40:], 1) // expires one second after it was made
	native.PutUint16(info[familyAt:], family)
	info = append(info, attribute(xfrmAttributeCrypt, keyed("ecb(cipher_null)", nil))...)
	info = append(info, attribute(xfrmAttributeAuth, keyed("hmac(sha256)", make([]byte, 32)))...)
	return message(xfrmMessageNewState, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, info)
}

// keyed is a struct xfrm_algo: a name, the length of the key in bits, the key.
func keyed(name string, key []byte) []byte {
	b := make([]byte, 64)
	copy(b, name)
	b = native.AppendUint32(b, uint32(8*len(key)))
	return append(b, key...)
}

// peditAction asks for a packet editing action without parameters. The kernel loads
// the module for its kind, and only then finds that they are missing.
func peditAction() []byte {
	const kind, table = 1, 1 // TCA_ACT_KIND, TCA_ACT_TAB
	action := attribute(kind, []byte("pedit\x00"))
	body := make([]byte, 4) // struct tcamsg, AF_UNSPEC
	return message(unix.RTM_NEWACTION, unix.NLM_F_ACK|unix.NLM_F_CREATE, append(body, attribute(table, attribute(1, action))...))
}

// netfilter is a message of a netfilter subsystem: struct nfgenmsg, then attributes.
func netfilter(kind, flags uint16, family byte, resource uint16, attributes ...[]byte) []byte {
	body := binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
	for _, a := range attributes {
		body = append(body, a...)
	}
	return message(kind, flags, body)
}

// text is an attribute that holds a string.
func text(kind uint16, value string) []byte { return attribute(kind, append([]byte(value), 0)) }

// nest is an attribute that holds another.
func nest(kind uint16, inner []byte) []byte { return attribute(kind|unix.NLA_F_NESTED, inner) }

// duplicateRule asks for a table, a chain and a rule with the expression "dup" without
// parameters. The kernel loads the module for it, finds that they are missing, and
// takes the whole batch back.
func duplicateRule(family byte) []byte {
	const subsystem = unix.NFNL_SUBSYS_NFTABLES << 8
	const name = "loadpaths"
	expression := nest(unix.NFTA_LIST_ELEM, append(text(unix.NFTA_EXPR_NAME, "dup"), nest(unix.NFTA_EXPR_DATA, nil)...))
	var b []byte
	b = append(b, netfilter(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)...)
	b = append(b, netfilter(subsystem|unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, family, 0, text(unix.NFTA_TABLE_NAME, name))...)
	b = append(b, netfilter(subsystem|unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, family, 0,
		text(unix.NFTA_CHAIN_TABLE, name), text(unix.NFTA_CHAIN_NAME, name))...)
	b = append(b, netfilter(subsystem|unix.NFT_MSG_NEWRULE, unix.NLM_F_ACK|unix.NLM_F_CREATE, family, 0,
		text(unix.NFTA_RULE_TABLE, name), text(unix.NFTA_RULE_CHAIN, name), nest(unix.NFTA_RULE_EXPRESSIONS, expression))...)
	return append(b, netfilter(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)...)
}

// Numbers of include/uapi/linux/netfilter/nf_tables_compat.h that x/sys has not.
const (
	compatName     = 1
	compatRevision = 2
	compatType     = 3
	compatTarget   = 1
)

// teeTarget asks which revision of the target TEE of iptables there is.
func teeTarget() []byte {
	one := binary.BigEndian.AppendUint32(nil, 1)
	target := binary.BigEndian.AppendUint32(nil, compatTarget)
	return netfilter(unix.NFNL_SUBSYS_NFT_COMPAT<<8, unix.NLM_F_ACK, unix.AF_INET, 0,
		text(compatName, "TEE"), attribute(compatRevision, one), attribute(compatType, target))
}
