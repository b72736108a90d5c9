package machine

import "syscall"

// dieWithParent has the kernel end QEMU when we die without Close, as go test does to
// a package that runs out of time: PR_SET_PDEATHSIG(2const).
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
