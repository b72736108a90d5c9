//go:build !linux

package machine

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }
