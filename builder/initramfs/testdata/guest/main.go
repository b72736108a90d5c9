// Program guest is the /init of the boots in boot_kernel_test.go: it prints what the
// kernel has unpacked, tries to load modules as the file /commands says, and powers
// the machine off.
package main

import (
	"bufio"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	fmt.Println("@@BEGIN")
	if err := list(); err != nil {
		fmt.Println("error:", err)
	}
	if err := obey(); err != nil {
		fmt.Println("error:", err)
	}
	fmt.Println("@@END")
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}

// list prints every name but those that come from the kernel's own archive.
func list() error {
	return filepath.WalkDir("/", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || name == "/":
			return err
		case name == "/dev" || name == "/root":
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := "|" + info.Mode().Type().String()
		switch {
		case info.IsDir():
			what = "/"
		case info.Mode().IsRegular():
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			what = fmt.Sprintf("=%d,%08x", len(data), crc32.ChecksumIEEE(data))
		case info.Mode().Type() == fs.ModeSymlink:
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			what = "->" + target
		}
		fmt.Println("name: " + name + what)
		return nil
	})
}

// obey runs commands, a line each, and prints whether they succeed. The command
// "finit FILE" is ours.
func obey() error {
	f, err := os.Open("/commands")
	if err != nil {
		return err
	}
	defer f.Close()
	for name, kind := range map[string]string{"/proc": "proc", "/sys": "sysfs"} { // kmod looks there
		if err := os.Mkdir(name, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(kind, name, kind, 0, ""); err != nil {
			return err
		}
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(lines.Text())
		var err error
		if words[0] == "finit" {
			err = finit(words[1])
		} else {
			cmd := exec.Command(words[0], words[1:]...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr // there is no /dev/null
			err = cmd.Run()
		}
		fmt.Printf("ran: %s: %v: %v\n", lines.Text(), err == nil, err)
	}
	return nil
}

func finit(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}
