package inference_test

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/kerngate/kerngate/builder/imgtest"
	"github.com/kerngate/kerngate/builder/inference"
	"github.com/kerngate/kerngate/builder/rootfs"
	"github.com/kerngate/kerngate/profiles"
)

func tree(t *testing.T, files map[string]string) rootfs.Tree {
	t.Helper()
	return imgtest.Tree(t, 0o644, files)
}

func find(t *testing.T, files map[string]string) []inference.Unit {
	t.Helper()
	units, err := inference.Find(tree(t, files), profiles.KnownServers())
	if err != nil {
		t.Fatal(err)
	}
	return units
}

// service is a unit that runs a command.
func service(command string) string { return "[Service]\nExecStart=" + command + "\n" }

// TestCommands has a unit app.service for each command, and wants the server that it starts.
func TestCommands(t *testing.T) {
	files := map[string]string{
		"opt/run.sh":           "#!/bin/bash\nset -e\n# vllm serve is below\ncd /srv && source venv/bin/activate\nMODEL=x\nif true; then\n  exec vllm serve \"$MODEL\" --port 8000\nfi\n",
		"opt/nested.sh":        "#!/bin/sh\n/opt/run.sh\n",
		"opt/loop.sh":          "#!/bin/sh\n/opt/loop.sh\n",
		"opt/var.sh":           "#!/bin/sh\nDAEMON=/usr/bin/ollama\n$DAEMON serve &\n",
		"opt/plain.sh":         "vllm serve x\n",
		"opt/continued.sh":     "#!/bin/sh\nvll\\\nm serve x\n",
		"opt/quoted.sh":        "#!/bin/sh\nX='a\\'; vllm serve x\n",
		"opt/backup.sh":        "#!/bin/sh\ntar c /var/lib/ollama # ollama serve\necho \"vllm serve\"\n",
		"opt/server.py":        "#!/usr/bin/env python3\nimport os\nfrom vllm import LLM\n",
		"opt/plain.py":         "import vllm_free\nimport json as vllm, os\n",
		"opt/several.py":       "import os as o,\tvllm as v\n",
		"opt/current":          "-> /opt/llm/llama-server",
		"opt/llm/llama-server": "ELF",
		"opt/other":            "-> /usr/bin/nginx",
		"usr/local/bin/start":  "#!/bin/sh\nllama-server -m x\n",
		"opt/compose.yaml":     "services:\n  web:\n    image: nginx\n  llm:\n    image: \"${TAG:-vllm/vllm-openai:latest}\"\n",
		"opt/web.yaml":         "services:\n  web:\n    image: nginx\n",
		"opt/pod.yaml":         "spec:\n  containers:\n  - image: ghcr.io/huggingface/text-generation-inference:3\n",
		"etc/default/llm":      "# BIN=/usr/bin/nginx\nBIN=\"/opt/bin/llama-server\"\n",
	}
	for _, c := range []struct{ name, command, want string }{
		{"program", "/usr/local/bin/ollama serve", "Ollama"},
		{"prefixes", "-@!/usr/bin/llama-server llama --host ::", "llama.cpp"},
		{"without a path", "tritonserver --model-repository=/m", "Triton"},
		{"subcommand missing", "/usr/local/bin/ollama pull llama3", ""},
		{"subcommand behind options", "/usr/bin/lmdeploy --debug serve api_server x", "LMDeploy"},
		{"glob of programs", "/opt/models/mistral-7b.llamafile --server", "llamafile"},
		{"link to a program", "/opt/current -m x", "llama.cpp"},
		{"link to another program", "/opt/other -m x", ""},
		{"one of several modules", "/usr/bin/python3 /opt/several.py", "vLLM"},
		{"virtual environment", "/opt/venv/bin/vllm serve x", "vLLM"},
		{"module", "/usr/bin/python3 -m vllm.entrypoints.openai.api_server --model x", "vLLM"},
		{"module without a blank", "/usr/bin/python3.12 -u -msglang.launch_server", "SGLang"},
		{"module with a like name", "/usr/bin/python3 -m vllmx.server", ""},
		{"script of a virtual environment", "/opt/venv/bin/python /opt/venv/bin/vllm serve x", "vLLM"},
		{"script of Python", "/usr/bin/python3 /opt/server.py", "vLLM"},
		{"script of Python by itself", "/opt/server.py --port 1", "vLLM"},
		{"script of Python that has nothing", "/usr/bin/python3 /opt/plain.py", ""},
		{"text of Python", `/usr/bin/python3 -c "import os; from vllm import LLM; LLM('x')"`, "vLLM"},
		{"shell", `/bin/sh -c "cd /srv && exec vllm serve x"`, "vLLM"},
		{"login shell", `/bin/bash -lc 'source venv/bin/activate; python -m sglang.launch_server'`, "SGLang"},
		{"shell in a shell", `/bin/sh -c "bash -c 'llama-server -m x'"`, "llama.cpp"},
		{"shell with a comment", `/bin/sh -c "sleep 1 # vllm serve"`, ""},
		{"shell that says so", `/bin/sh -c "echo starting vllm"`, ""},
		{"pipe", `/bin/sh -c "llama-server | logger"`, "llama.cpp"},
		{"substitution", `/bin/sh -c "X=$(tabby serve)"`, "Tabby"},
		{"assignment", `/bin/sh -c "CUDA_VISIBLE_DEVICES=0 vllm serve x"`, "vLLM"},
		{"variable of the shell", "/opt/var.sh", "Ollama"},
		{"script", "/opt/run.sh", "vLLM"},
		{"script without a first line", "/bin/sh /opt/plain.sh", "vLLM"},
		{"shell with an option off", `/bin/bash +e -c "vllm serve x"`, "vLLM"},
		{"script by its shell", "/bin/bash -e /opt/run.sh", "vLLM"},
		{"script that runs a script", "/opt/nested.sh", "vLLM"},
		{"script that runs itself", "/opt/loop.sh", ""},
		{"script without a path", "start", "llama.cpp"},
		{"script that only talks", "/opt/backup.sh", ""},
		{"word over two lines", "/opt/continued.sh", "vLLM"},
		{"backslash in single quotes", "/opt/quoted.sh", "vLLM"},
		{"no comment in a word", `/bin/sh -c "echo a#b; vllm serve x"`, "vLLM"},
		{"options of exec", `/bin/sh -c "exec -c llama-server"`, "llama.cpp"},
		{"a prefix that names no other word", "-/usr/bin/ollama serve", "Ollama"},
		{"env", "/usr/bin/env HF_HOME=/m vllm serve x", "vLLM"},
		{"numactl", "/usr/bin/numactl -N 0 -m 0 /opt/bin/llama-server -m x", "llama.cpp"},
		{"wrappers of wrappers", "/usr/bin/nice -n 5 /usr/bin/env A=b bash -c 'exec trtllm-serve x'", "TensorRT-LLM"},
		{"uv", "/root/.local/bin/uv run --with vllm vllm serve x", "vLLM"},
		{"conda", "/opt/conda/bin/conda run -n llm --no-capture-output python -m vllm.entrypoints.api_server", "vLLM"},
		{"unknown starter", "/opt/bin/supervise --restart vllm serve x", "vLLM"},
		{"unknown starter of a module", "/opt/bin/launcher -m vllm.entrypoints.openai.api_server", "vLLM"},
		{"mentioned only", "/usr/bin/exporter --target vllm --job ollama", ""},
		{"docker run", "/usr/bin/docker run --rm --gpus all -p 8000:8000 vllm/vllm-openai:v0.9 --model x", "vLLM"},
		{"registry and digest", "/usr/bin/podman run registry.local:5000/mirror/vllm/vllm-openai@sha256:0123", "vLLM"},
		{"NIM", "/usr/bin/docker run nvcr.io/nim/meta/llama-3.1-8b-instruct:1.3", "NVIDIA NIM"},
		{"program in a container", "/usr/bin/docker run --rm ubuntu llama-server -m x", "llama.cpp"},
		{"entrypoint", "/usr/bin/docker run --entrypoint vllm local/image serve x", "vLLM"},
		{"shell in a container", "/usr/bin/docker run ubuntu bash -c 'vllm serve x'", "vLLM"},
		{"docker start", "/usr/bin/docker start -a ollama", "Ollama"},
		{"image in capitals", "/usr/bin/docker run Registry.Local/VLLM/vLLM-OpenAI", "vLLM"},
		{"container's name as a word", "/usr/bin/podman run --name vllm local/image", "vLLM"},
		{"container's name", "/usr/bin/podman run --name=vllm local/image", "vLLM"},
		{"network's name", "/usr/bin/docker run --network vllm nginx", ""},
		{"docker pull", "/usr/bin/docker pull vllm/vllm-openai", ""},
		{"docker exec", "/usr/bin/docker exec vllm nvidia-smi", ""},
		{"docker rm", "/usr/bin/docker rm -f ollama", ""},
		{"another image", "/usr/bin/docker run nginx", ""},
		{"docker compose", "/usr/bin/docker compose -f /opt/compose.yaml up -d", "vLLM"},
		{"docker compose of others", "/usr/bin/docker compose -f /opt/web.yaml up", ""},
		{"docker compose down", "/usr/bin/docker compose -f /opt/compose.yaml down", ""},
		{"podman kube play", "/usr/bin/podman kube play --replace /opt/pod.yaml", "TGI"},
		{"systemd-run", "/usr/bin/systemd-run --scope vllm serve x", "vLLM"},
		{"several commands", "/bin/true ; -/usr/bin/tritonserver", "Triton"},
		{"continued", "/bin/sh -c \\\n  # a comment\n 'exec \\\n vllm serve x'", "vLLM"},
		{"variable", "${BIN} --host ::\nEnvironmentFile=-/etc/default/llm", "llama.cpp"},
		{"variable of several words", "/usr/bin/env $CMD\nEnvironment=\"CMD=vllm serve x\" A=b", "vLLM"},
		{"compose in the working directory", "/usr/bin/docker compose up\nWorkingDirectory=/opt", "vLLM"},
		{"compose that starts what is there", "/usr/bin/docker compose start\nWorkingDirectory=/opt", "vLLM"},
		{"compose as a program", "/usr/bin/docker-compose run llm\nWorkingDirectory=-/opt", "vLLM"},
		{"a container beside a compose file", "/usr/bin/docker run nginx\nWorkingDirectory=/opt", ""},
		{"web server", "/usr/sbin/nginx -g 'daemon off;'", ""},
		{"nothing", "", ""},
		{"quotes that do not end", `/bin/sh -c "vllm serve`, "vLLM"},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := map[string]string{"etc/systemd/system/app.service": service(c.command)}
			for name, text := range files {
				all[name] = text
			}
			got := ""
			for _, u := range find(t, all) {
				got += u.Server
				if !strings.HasPrefix(u.Evidence[0], "/etc/systemd/system/app.service:") {
					t.Errorf("evidence is %q", u.Evidence)
				}
			}
			if got != c.want {
				t.Errorf("%q starts %q, want %q", c.command, got, c.want)
			}
		})
	}
}

// describe is one line of what matters.
func describe(u inference.Unit) string {
	state := ""
	if u.Masked {
		state = " masked"
	}
	if len(u.EnabledBy) > 0 {
		state += " by " + strings.Join(u.EnabledBy, ", ")
	}
	return fmt.Sprintf("%s %s %s %s: %s%s", u.Manager, u.Kind, u.Name, u.Path, u.Server, state)
}

// TestFind wants of one rich tree all units and nothing else.
func TestFind(t *testing.T) {
	const vllm, nginx = "/opt/venv/bin/vllm serve x", "/usr/sbin/nginx"
	const sys, etc, user = "usr/lib/systemd/system/", "etc/systemd/system/", "usr/lib/systemd/user/"
	const alice, quad = "home/alice/.config/", "etc/containers/systemd/"
	units := find(t, map[string]string{
		"lib":        "-> usr/lib",
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nbob:x:1001:1001::/home/alice:/bin/sh\nx:x:1:1::/:/bin/sh\nshort\n",
		// A vendor's unit, enabled; one overridden by something harmless; one that a drop-in changes.
		sys + "ollama.service":                      service("/usr/bin/ollama serve"),
		etc + "default.target.wants/ollama.service": "-> /usr/lib/systemd/system/ollama.service",
		sys + "web.service":                         service(vllm),
		etc + "web.service":                         service(nginx),
		sys + "app.service":                         service(nginx),
		etc + "app.service.d/10-x.conf":             "[Service]\nExecStart=\nExecStart=" + vllm + "\n",
		sys + "calm.service":                        service(vllm),
		etc + "calm.service.d/10-x.conf":            "[Service]\nExecStart=\nExecStart=" + nginx + "\n",
		sys + "vllm.service":                        service(vllm),
		etc + "vllm.service":                        "-> /dev/null",
		sys + "nginx.service":                       service(nginx),
		sys + "docker-registry.service":             service("/usr/bin/registry"),
		sys + "ollamaish.service":                   service(nginx),
		// A template with two instances, one of them of its own file; an alias; a link out.
		etc + "model@.service":                          service("/usr/bin/llama-server -m %i"),
		etc + "multi-user.target.wants/model@a.service": "-> ../model@.service",
		etc + "model@b.service":                         service(nginx),
		etc + "llm.service":                             "-> srv.service",
		etc + "srv.service":                             service(vllm),
		etc + "linked.service":                          "-> /opt/x/linked.service",
		"opt/x/linked.service":                          service(vllm),
		etc + "dangling.service":                        "-> /opt/x/none.service",
		// Sockets: of a service, with a name of its own, of a template, of nothing of interest.
		sys + "local-ai.socket":                      "[Socket]\nListenStream=8080\n",
		sys + "local-ai.service":                     service("/usr/bin/local-ai"),
		etc + "sockets.target.wants/local-ai.socket": "-> /usr/lib/systemd/system/local-ai.socket",
		sys + "front.socket":                         "[Socket]\nListenStream=1\nService=srv.service\n",
		sys + "model.socket":                         "[Socket]\nListenStream=2\nAccept=yes\n",
		sys + "nginx.socket":                         "[Socket]\nListenStream=3\n",
		// Runtimes.
		sys + "docker.service":  service("/usr/bin/dockerd"),
		sys + "docker.socket":   "[Socket]\nListenStream=/run/docker.sock\n",
		sys + "kubelet.service": service("/usr/bin/kubelet"),
		// Quadlets.
		quad + "qwen.container":                            "[Container]\nImage=docker.io/vllm/vllm-openai:latest\n[Install]\nWantedBy=default.target\n",
		quad + "web.container":                             "[Container]\nImage=docker.io/nginx\n",
		quad + "sub/tpl@.container":                        "[Container]\nImage=base.image\n[Install]\nWantedBy=default.target\n",
		quad + "sub/tpl@one.container":                     "-> tpl@.container",
		quad + "base.image":                                "[Image]\nImage=quay.io/ramalama/cuda:latest\n",
		quad + "other.container":                           "[Container]\nServiceName=chat\nImage=x\nExec=llama-server -m /m\n",
		quad + "pods.kube":                                 "[Kube]\nYaml=pods.yaml\n",
		quad + "pods.yaml":                                 "spec:\n  containers:\n    - image: lmsysorg/sglang:latest\n",
		quad + "ollama.pod":                                "[Pod]\nPodName=x\n",
		quad + "masked.container":                          "[Container]\nImage=vllm/vllm-openai\n",
		etc + "masked.service":                             "-> /dev/null",
		quad + "dropped.container":                         "[Container]\nImage=nginx\n",
		quad + "dropped.container.d/x.conf":                "[Container]\nImage=ollama/ollama\n",
		"etc/containers/systemd/users/rootless.container":  "[Container]\nImage=ollama/ollama\n",
		"etc/containers/systemd/users/1000/only.container": "[Container]\nImage=ollama/ollama\n",
		// Users.
		user + "lemond.service":                                    service("/usr/bin/lemond"),
		alice + "systemd/user/chat.service":                        service("%h/bin/koboldcpp --model x"),
		alice + "systemd/user/default.target.wants/lemond.service": "-> /usr/lib/systemd/user/lemond.service",
		alice + "containers/systemd/tgi.container":                 "[Container]\nImage=x\n",
	})
	got := []string{}
	for _, u := range units {
		got = append(got, describe(u))
	}
	want := strings.Split(strings.TrimSpace(wantFound), "\n")
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, u := range units {
		if len(u.Evidence) == 0 || u.EnabledBy == nil || len(u.DropIns) == 0 || u.DropIns[0] != u.Name || (path.Ext(u.Name) == ".socket") != (u.Kind == inference.Socket) {
			t.Errorf("%+v", u)
		}
	}
}

const wantFound = `
system service app.service /usr/lib/systemd/system/app.service: vLLM
system quadlet chat.service /etc/containers/systemd/other.container: llama.cpp
system service docker.service /usr/lib/systemd/system/docker.service: Docker
system socket docker.socket /usr/lib/systemd/system/docker.socket: Docker
system quadlet dropped.service /etc/containers/systemd/dropped.container: Ollama
system socket front.socket /usr/lib/systemd/system/front.socket: vLLM
system service kubelet.service /usr/lib/systemd/system/kubelet.service: kubelet
system service linked.service /etc/systemd/system/linked.service: vLLM
system service local-ai.service /usr/lib/systemd/system/local-ai.service: LocalAI by /usr/lib/systemd/system/local-ai.socket
system socket local-ai.socket /usr/lib/systemd/system/local-ai.socket: LocalAI by /etc/systemd/system/sockets.target.wants/local-ai.socket
system socket model.socket /usr/lib/systemd/system/model.socket: llama.cpp
system service model@.service /etc/systemd/system/model@.service: llama.cpp
system service model@a.service /etc/systemd/system/model@.service: llama.cpp by /etc/systemd/system/multi-user.target.wants/model@a.service
system quadlet ollama-pod.service /etc/containers/systemd/ollama.pod: Ollama
system service ollama.service /usr/lib/systemd/system/ollama.service: Ollama by /etc/systemd/system/default.target.wants/ollama.service
system quadlet pods.service /etc/containers/systemd/pods.kube: SGLang
system quadlet qwen.service /etc/containers/systemd/qwen.container: vLLM by /etc/containers/systemd/qwen.container: WantedBy=default.target
system service srv.service /etc/systemd/system/srv.service: vLLM
system quadlet tpl@.service /etc/containers/systemd/sub/tpl@.container: RamaLama
system quadlet tpl@one.service /etc/containers/systemd/sub/tpl@one.container: RamaLama by /etc/containers/systemd/sub/tpl@one.container: WantedBy=default.target
system service vllm.service /etc/systemd/system/vllm.service: vLLM masked
user service lemond.service /usr/lib/systemd/user/lemond.service: Lemonade by /home/alice/.config/systemd/user/default.target.wants/lemond.service
user quadlet rootless.service /etc/containers/systemd/users/rootless.container: Ollama
user quadlet only.service /etc/containers/systemd/users/1000/only.container: Ollama
user service chat.service /home/alice/.config/systemd/user/chat.service: KoboldCpp
user quadlet tgi.service /home/alice/.config/containers/systemd/tgi.container: TGI
`

// TestOddUnits has small trees, each for one rule.
func TestOddUnits(t *testing.T) {
	const sys, etc, quad = "usr/lib/systemd/system/", "etc/systemd/system/", "etc/containers/systemd/"
	const home = "home/al/"
	passwd := "al:x:1000:1000::/home/al:/bin/sh\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"a quadlet's service with a slash", map[string]string{quad + "a.container": "[Container]\nServiceName=x/y\nImage=ollama/ollama\n"}, "system quadlet a.service /etc/containers/systemd/a.container: Ollama"},
		{"a quadlet before a vendor's unit", map[string]string{quad + "a.container": "[Container]\nImage=ollama/ollama\n", sys + "a.service": service("/bin/true")}, "system quadlet a.service /etc/containers/systemd/a.container: Ollama"},
		{"a quadlet behind the administrator's unit", map[string]string{quad + "a.container": "[Container]\nImage=ollama/ollama\n", etc + "a.service": service("/bin/true")}, ""},
		{"a quadlet before what a user installed", map[string]string{"etc/passwd": passwd, home + ".config/containers/systemd/a.container": "[Container]\nImage=ollama/ollama\n", home + ".local/share/systemd/user/a.service": service("/bin/true")},
			"user quadlet a.service /home/al/.config/containers/systemd/a.container: Ollama"},
		{"a quadlet with a command of its own", map[string]string{quad + "a.container": "[Container]\nImage=nginx\n[Service]\nExecStartPost=/usr/bin/ollama serve\n"}, "system quadlet a.service /etc/containers/systemd/a.container: Ollama"},
		{"a link of the same name", map[string]string{etc + "a.service": "-> /usr/lib/systemd/system/a.service", sys + "a.service": service("/usr/bin/ollama serve")}, "system service a.service /etc/systemd/system/a.service: Ollama"},
		{"an empty unit", map[string]string{etc + "ollama.service": "", sys + "ollama.service": service("/usr/bin/ollama serve")}, "system service ollama.service /etc/systemd/system/ollama.service: Ollama masked"},
		{"a masked unit that is known by its command", map[string]string{etc + "a.service": "-> /dev/null", sys + "a.service": service("/usr/bin/ollama serve")}, ""},
		{"a masked unit with a drop-in", map[string]string{etc + "a.service": "-> /dev/null", etc + "a.service.d/x.conf": service("/usr/bin/ollama serve")}, ""},
		{"a socket that is masked", map[string]string{etc + "ollama.service": service("/usr/bin/ollama serve"), etc + "ollama.socket": "-> /dev/null", etc + "sockets.target.wants/ollama.socket": "-> ../ollama.socket"},
			"system service ollama.service /etc/systemd/system/ollama.service: Ollama\nsystem socket ollama.socket /etc/systemd/system/ollama.socket: Ollama masked by /etc/systemd/system/sockets.target.wants/ollama.socket"},
		{"a socket of a masked service", map[string]string{etc + "ollama.service": "-> /dev/null", etc + "ollama.socket": "[Socket]\nListenStream=1\n"},
			"system service ollama.service /etc/systemd/system/ollama.service: Ollama masked\nsystem socket ollama.socket /etc/systemd/system/ollama.socket: Ollama masked"},
		{"a command of another section", map[string]string{etc + "a.service": "[X-Old]\nExecStart=/usr/bin/ollama serve\n[Service]\nExecStart=/bin/true\n"}, ""},
		{"an image of another section", map[string]string{quad + "a.container": "[X-Old]\nImage=ollama/ollama\n[Container]\nImage=nginx\n"}, ""},
		{"a directory with the name of a unit", map[string]string{etc + "a.service/x": "", sys + "a.service": service("/usr/bin/ollama serve")}, "system service a.service /usr/lib/systemd/system/a.service: Ollama"},
		{"a drop-in of another name", map[string]string{etc + "a.service": service("/bin/true"), etc + "a.service.d/x.txt": service("/usr/bin/ollama serve")}, ""},
		{"a stronger drop-in of the same name", map[string]string{etc + "a.service": service("/bin/true"), etc + "a.service.d/x.conf": "[Service]\nNice=1\n", sys + "a.service.d/x.conf": service("/usr/bin/ollama serve")}, ""},
		{"a user at home in the root", map[string]string{"etc/passwd": "x:x:1:1::/:/bin/sh\n", ".config/systemd/user/a.service": service("/usr/bin/ollama serve")}, "user service a.service /.config/systemd/user/a.service: Ollama"},
		{"a user without a shell", map[string]string{"etc/passwd": "al:x:1000:1000::/home/al\n", home + ".config/systemd/user/a.service": service("/usr/bin/ollama serve")}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, u := range find(t, c.files) {
				got = append(got, describe(u))
			}
			if text := strings.Join(got, "\n"); text != c.want {
				t.Errorf("got\n%s\nwant\n%s", text, c.want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	many := "[Service]\n"
	for n := range 6 {
		many += fmt.Sprintf("ExecStartPre=/usr/bin/ollama serve %d\n", n)
	}
	if got := find(t, map[string]string{"etc/systemd/system/x.service": many})[0].Evidence; len(got) != 4 {
		t.Errorf("%d lines of evidence, want 4: %q", len(got), got)
	}
	large := strings.Repeat("# a comment\n", 1<<20/12+1)
	if _, err := inference.Find(tree(t, map[string]string{"etc/systemd/system/x.service": large}), profiles.KnownServers()); err == nil || !strings.Contains(err.Error(), "limit is 1048576") {
		t.Errorf("a unit above the limit: %v", err)
	}
	// What is in the way of nobody: links in circles, scripts without end, odd homes.
	units := find(t, map[string]string{
		"etc/systemd/system/a.service":       "-> b.service",
		"etc/systemd/system/b.service":       "-> a.service",
		"etc/systemd/system/c.service":       service("/opt/c.sh"),
		"opt/c.sh":                           "#!/bin/sh\n" + strings.Repeat("x=$x$x$x$x\n", 1000) + "/opt/c.sh\n",
		"etc/systemd/system/d.service.d":     "-> d.service.d",
		"etc/systemd/system/d.service":       service("/bin/true"),
		"etc/systemd/system/e.service.d/x":   "",
		"etc/containers/systemd/loop":        "-> .",
		"etc/passwd":                         "x:x:1:1::/proc/self:/bin/sh\ny:x:1:1::../..:/bin/sh\n",
		"etc/systemd/system/f.service.wants": "no directory",
	})
	if len(units) > 0 {
		t.Errorf("found %v, want nothing", units)
	}
	if units := find(t, map[string]string{"etc/hosts": ""}); len(units) > 0 {
		t.Errorf("in a tree without units: %v", units)
	}
}
