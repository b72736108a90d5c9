package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo terminal (pty(7)): what is written to the one end is read
// at the other.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err := errors.Join(err, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func TestProgress(t *testing.T) {
	const MiB = 1 << 20
	copying := func(u *ui) {
		u.step("copy disk.raw")
		u.progress(16*MiB, 100*MiB)
		u.shown = time.Now().Add(time.Hour) // the next comes too soon after the first
		u.progress(32*MiB, 100*MiB)
		u.progress(100*MiB, 100*MiB)
		u.step("edit")
	}
	interrupted := func(u *ui) {
		u.progress(16*MiB, 100*MiB)
		u.fail(errors.New("interrupted"))
	}
	live := func(u *ui) {
		u.live("kernel", true)
		u.live("kernel", false)
		u.live("a\x1b[2Jb "+strings.Repeat("x", 100), true)
		u.step("done")
	}
	long := "kerngate: a?[2Jb " + strings.Repeat("x", 100)
	for _, c := range []struct {
		name     string
		quiet    bool
		do       func(*ui)
		terminal string // a terminal turns \n into \r\n
		pipe     string
	}{
		{"whole copy", false, copying,
			"kerngate: copy disk.raw\r\n\rkerngate: 16 of 100 MiB copied\rkerngate: 100 of 100 MiB copied\r\nkerngate: edit\r\n",
			"kerngate: copy disk.raw\nkerngate: edit\n"},
		{"quiet", true, copying, "", ""},
		{"live", false, live,
			"\r\x1b[Kkerngate: kernel\r\x1b[Kkerngate: kernel\r\x1b[K" + long[:79] + "\r\nkerngate: done\r\n",
			"kerngate: kernel\n" + long + "\nkerngate: done\n"},
		{"live, quiet", true, live, "", ""},
		{"cut short", false, interrupted,
			"\rkerngate: 16 of 100 MiB copied\r\nkerngate: error: interrupted\r\n",
			"kerngate: error: interrupted\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var pipe bytes.Buffer
			c.do(&ui{stderr: &pipe, quiet: c.quiet})
			if pipe.String() != c.pipe {
				t.Errorf("a pipe gets %q, want %q", &pipe, c.pipe)
			}
			master, slave := terminal(t)
			c.do(&ui{stderr: slave, quiet: c.quiet})
			const end = "end"
			fmt.Fprint(slave, end)
			got := make([]byte, 0, 1000)
			for !bytes.HasSuffix(got, []byte(end)) {
				n, err := master.Read(got[len(got):cap(got)])
				if err != nil {
					t.Fatalf("after %q: %v", got, err)
				}
				got = got[:len(got)+n]
			}
			if string(got) != c.terminal+end {
				t.Errorf("a terminal gets %q, want %q", got, c.terminal+end)
			}
		})
	}
}
