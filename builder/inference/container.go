package inference

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/profiles"
)

// image finds a server by the name of a container image. What stands before the parts that
// the table knows is a registry, or a mirror of one.
func (m *matcher) image(reference string) *profiles.Server {
	parts := strings.Split(imageName(reference), "/")
	for i, s := range m.table {
		for _, pattern := range s.Images {
			n := strings.Count(pattern, "/") + 1
			if len(parts) >= n && matches(pattern, strings.Join(parts[len(parts)-n:], "/")) {
				return &m.table[i]
			}
		}
	}
	return nil
}

// imageName drops transport, tag and digest.
func imageName(reference string) string {
	name, _, _ := strings.Cut(reference, "@")
	if _, rest, ok := strings.Cut(name, "://"); ok {
		name = rest
	}
	slash := strings.LastIndexByte(name, '/')
	if colon := strings.LastIndexByte(name, ':'); colon > slash {
		name = name[:colon]
	}
	return strings.ToLower(name)
}

// idle are the words of commands that start no container.
var idle = []string{"pull", "stop", "rm", "kill", "rmi", "build", "push", "down", "inspect", "wait", "logs", "exec", "ps", "prune"}

// container looks through docker run, podman kube play, docker compose up and their like.
func (m *matcher) container(args []string, nesting int) (*profiles.Server, error) {
	at := slices.IndexFunc(args, func(arg string) bool { return slices.Contains([]string{"start", "run", "create", "up", "play"}, arg) })
	if at < 0 || slices.ContainsFunc(args[:at], func(arg string) bool { return slices.Contains(idle, arg) }) {
		return nil, nil
	}
	verb, rest := args[at], args[at+1:]
	for i, arg := range rest {
		before := verb
		if i > 0 {
			before = rest[i-1]
		}
		if s, err := m.containerWord(rest[i:], verb, before, nesting); s != nil || err != nil {
			return s, err
		}
		if name, isName := strings.CutPrefix(arg, "--name="); isName {
			if s := m.name(name); s != nil {
				return s, nil
			}
		}
	}
	return m.manifests(args)
}

// containerWord judges one word behind the verb. It can be the image, and what comes
// behind that the program: the options that take an argument are too many to know.
func (m *matcher) containerWord(words []string, verb, before string, nesting int) (*profiles.Server, error) {
	if s := m.image(words[0]); s != nil {
		return s, nil
	}
	if before == "--name" || verb == "start" {
		if s := m.name(words[0]); s != nil {
			return s, nil
		}
	}
	if strings.HasPrefix(before, "-") && before != "--entrypoint" {
		return nil, nil
	}
	if base := path.Base(words[0]); slices.Contains(shells, base) || python.MatchString(base) {
		return m.direct(words, nesting+1)
	}
	return m.program(words), nil
}

// composeFiles are read where a command names none: docs.docker.com, "How Compose works".
var composeFiles = []string{"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"}

// manifests looks through the compose and pod files that a command names.
func (m *matcher) manifests(args []string) (*profiles.Server, error) {
	files := []string{}
	for _, arg := range args {
		_, value, isOption := strings.Cut(arg, "=")
		if isOption {
			arg = value
		}
		if ext := path.Ext(arg); ext == ".yaml" || ext == ".yml" {
			files = append(files, m.places(arg)...)
		}
	}
	if len(files) == 0 && slices.Contains(args, "compose") {
		for _, name := range composeFiles {
			files = append(files, m.places(name)...)
		}
	}
	for _, file := range files {
		if s, err := m.manifest(file); s != nil || err != nil {
			return s, err
		}
	}
	return nil, nil
}

// yamlImage is a line of YAML that names an image, also with a variable's default.
var yamlImage = regexp.MustCompile(`(?m)^[ \t-]*"?image"?:[ \t]*["']?(?:\$\{[A-Za-z0-9_]+:?-)?([^\s"'}]+)`)

// manifest looks through the images of one file.
func (m *matcher) manifest(file string) (*profiles.Server, error) {
	if m.bytes <= 0 {
		return nil, nil
	}
	data, ok, err := m.read(file, maxScript)
	if err != nil || !ok {
		return nil, err
	}
	m.bytes -= len(data)
	for _, found := range yamlImage.FindAllStringSubmatch(string(data), maxCommands) {
		if s := m.image(found[1]); s != nil {
			return s, nil
		}
	}
	return nil, nil
}

// unitPrefixes are put before a container's name by those who write units for containers:
// podman generate systemd, NixOS, snapd.
var unitPrefixes = []string{"container-", "podman-", "docker-", "snap."}

// name finds a server by a name of a unit without its suffix, or of a container.
func (m *matcher) name(stem string) *profiles.Server {
	stem = strings.ToLower(stem)
	candidates := []string{stem}
	for _, p := range unitPrefixes {
		if rest, ok := strings.CutPrefix(stem, p); ok {
			candidates = append(candidates, rest)
		}
	}
	for i, s := range m.table {
		for _, word := range s.Names {
			for _, c := range candidates {
				if rest, ok := strings.CutPrefix(c, word); ok && (rest == "" || strings.Contains("-_.@", rest[:1])) {
					return &m.table[i]
				}
			}
		}
	}
	return nil
}
