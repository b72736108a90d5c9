//go:build !linux

package imgtest

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }
