//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUnsettled(t *testing.T) {
	tests := map[string]struct {
		shown string
		want  bool
	}{
		"down":                    {shown: "MainPID=0\nId=vllm.service\nActiveState=inactive\n"},
		"refused":                 {shown: "MainPID=0\nId=vllm.service\nActiveState=failed\nJob=0\n"},
		"socket":                  {shown: "Id=local-ai.socket\nActiveState=active\n"},
		"job":                     {shown: "MainPID=0\nId=vllm.service\nActiveState=inactive\nJob=211\n", want: true},
		"waits for its restart":   {shown: "MainPID=0\nId=llama-server.service\nActiveState=activating\n", want: true},
		"stops":                   {shown: "MainPID=0\nId=vllm.service\nActiveState=deactivating\n", want: true},
		"has not left its mark":   {shown: "MainPID=4711\nId=vllm.service\nActiveState=active\n", want: true},
		"second of two":           {shown: "MainPID=0\nId=a.service\nActiveState=inactive\n\nMainPID=4711\nId=b.service\nActiveState=active\n", want: true},
		"both down":               {shown: "MainPID=0\nId=a.service\nActiveState=inactive\n\nMainPID=0\nId=b.service\nActiveState=failed\n"},
		"manager does not answer": {shown: "Failed to connect to bus: Connection refused\n", want: true},
		"nothing":                 {shown: "", want: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if why := unsettled(test.shown); (why != "") != test.want {
				t.Errorf("got %q, want something: %v", why, test.want)
			}
		})
	}
}

func TestWaitsForOpen(t *testing.T) {
	call := func(number int) string {
		return fmt.Sprintf("%d 0xffffffffffffff9c 0xc000012345 0x80000 0x0 0x0 0x0 0x7ffd1000 0x40f7ce\n", number)
	}
	tests := map[string]struct {
		threads []string
		want    bool
	}{
		"waits":               {threads: []string{call(unix.SYS_OPENAT)}, want: true},
		"second thread waits": {threads: []string{call(unix.SYS_FUTEX), call(unix.SYS_OPENAT)}, want: true},
		"reads":               {threads: []string{call(unix.SYS_READ), call(unix.SYS_FUTEX)}},
		"other call":          {threads: []string{call(unix.SYS_OPENAT * 10)}},
		"runs":                {threads: []string{"running\n"}},
		"has gone":            {},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			process := t.TempDir()
			for i, text := range test.threads {
				thread := filepath.Join(process, "task", strconv.Itoa(i+1))
				if err := os.MkdirAll(thread, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(thread, "syscall"), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := waitsForOpen(process); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
