//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// nobody is the user and group of that name in Debian.
const nobody = 65534

// self is this program, run again: sockets close with the child, and a child can be
// somebody else.
const self = "/proc/self/exe"

func autoload(_ *machine, mod module) string { return again(mod, "trigger", nil) }

// autoloadNobody does the same without a privilege. What needs CAP_NET_ADMIN gets it
// as anybody does, in a user and network name space of its own.
func autoloadNobody(_ *machine, mod module) string {
	how := "trigger"
	if needsNetAdmin[mod.name] {
		how = "trigger-in-namespace"
	}
	return again(mod, how, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}})
}

func again(mod module, how string, as *syscall.SysProcAttr) string {
	cmd := exec.Command(self, how, mod.name)
	cmd.SysProcAttr = as
	out, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// child is the life of a process that [again] has started.
func child(how, name string) int {
	var err error
	switch how {
	case "trigger":
		err = trigger(name)
	case "trigger-in-namespace":
		err = inNamespace(name)
	default:
		err = fmt.Errorf("no such step: %q", how)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func inNamespace(name string) error {
	cmd := exec.Command(self, "trigger", name)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: nobody, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: nobody, Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) > 0 {
		return errors.New(strings.TrimSpace(string(out)))
	}
	return err
}

// algorithms are what is bound in AF_ALG: type and name.
var algorithms = map[string]unix.SockaddrALG{
	"algif_aead":     {Type: "aead", Name: "gcm(aes)"},
	"algif_hash":     {Type: "hash", Name: "sha256"},
	"algif_rng":      {Type: "rng", Name: "stdrng"},
	"algif_skcipher": {Type: "skcipher", Name: "cbc(aes)"},
	"authencesn":     {Type: "aead", Name: "authencesn(hmac(sha256),cbc(aes))"},
}

// needsNetAdmin are the modules that the kernel asks for only where the process may
// configure a network.
var needsNetAdmin = map[string]bool{"esp4": true, "esp6": true, "nft_dup_ipv4": true, "nft_dup_ipv6": true, "xt_TEE": true}

// requests are netlink messages: the protocol that they are sent by, and the bytes.
var requests = map[string]struct {
	protocol int
	message  func() []byte
}{
	"esp4":         {unix.NETLINK_XFRM, func() []byte { return espState(unix.AF_INET) }},
	"esp6":         {unix.NETLINK_XFRM, func() []byte { return espState(unix.AF_INET6) }},
	"act_pedit":    {unix.NETLINK_ROUTE, peditAction},
	"nft_dup_ipv4": {unix.NETLINK_NETFILTER, func() []byte { return duplicateRule(unix.AF_INET) }},
	"nft_dup_ipv6": {unix.NETLINK_NETFILTER, func() []byte { return duplicateRule(unix.AF_INET6) }},
	"xt_TEE":       {unix.NETLINK_NETFILTER, teeTarget},
}

// trigger does what makes the kernel ask for a module.
func trigger(name string) error {
	if algorithm, found := algorithms[name]; found {
		return bindAlgorithm(&algorithm)
	}
	if request, found := requests[name]; found {
		return netlink(request.protocol, request.message())
	}
	switch name {
	case "af_alg":
		return openSocket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0)
	case "rxrpc":
		return openSocket(unix.AF_RXRPC, unix.SOCK_DGRAM, unix.AF_INET)
	}
	return fmt.Errorf("nothing is known that loads %s", name)
}

func openSocket(family, kind, protocol int) error {
	fd, err := unix.Socket(family, kind, protocol)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	return unix.Close(fd)
}

func bindAlgorithm(algorithm *unix.SockaddrALG) error {
	fd, err := unix.Socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, algorithm); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// netlink sends messages, of which one wants an answer, and reads it. If the answer is
// an acknowledgement, it has an errno in the first four bytes behind the header:
// netlink(7).
func netlink(protocol int, message []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, protocol)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	answer := make([]byte, 8192)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if n < unix.SizeofNlMsghdr+4 {
		return fmt.Errorf("answer has %d bytes", n)
	}
	if kind := binary.NativeEndian.Uint16(answer[4:]); kind != unix.NLMSG_ERROR {
		return nil
	}
	if errno := -int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); errno != 0 {
		return fmt.Errorf("answer: %w", unix.Errno(errno))
	}
	return nil
}
