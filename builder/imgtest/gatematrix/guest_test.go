//go:build linux

package main

import "testing"

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
