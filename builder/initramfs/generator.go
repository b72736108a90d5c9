package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/kerngate/kerngate/builder/rootfs"
)

// File is a file that a generator of initramfs images reads.
type File struct {
	Path   string
	Mode   fs.FileMode
	Data   []byte
	Reason string // one line, what it is for
}

// Where the files lie. Those of directories sort last: what is said last stands.
const (
	initramfsToolsHook = "/etc/initramfs-tools/hooks/zz-kerngate"
	dracutConf         = "/etc/dracut.conf.d/zz-kerngate.conf"
	mkinitcpioConf     = "/etc/mkinitcpio.conf.d/zz-kerngate.conf"
	boosterConf        = "/etc/booster.yaml"
)

// maxProgram bounds a generator that is read for what it knows; they are scripts.
const maxProgram = 4 << 20

// GeneratorFiles gives the files that keep a block in the images which the generators
// in a tree will write: the modprobe.d file at ConfigPath goes in, the modules stay
// out. Header is comment lines, each with its newline. Modules have underscores.
//
// For initramfs-tools and dracut this was seen to work; for mkinitcpio and booster it
// follows their documentation: mkinitcpio.conf(5), which has nothing to leave a module
// out by, and booster's manual.
func GeneratorFiles(t rootfs.Tree, header string, modules []string) ([]File, error) {
	if i := slices.IndexFunc(modules, func(m string) bool { return !plainName(m) }); i >= 0 {
		return nil, fmt.Errorf("module name %q: want letters, digits and underscores", modules[i])
	}
	var out []File
	for _, g := range []struct {
		programs []string
		make     func(t rootfs.Tree, program, header string, modules []string) ([]File, error)
	}{
		{[]string{"/usr/sbin/mkinitramfs"}, forInitramfsTools},
		{[]string{"/usr/bin/dracut", "/usr/sbin/dracut"}, forDracut},
		{[]string{"/usr/bin/mkinitcpio"}, forMkinitcpio},
		{[]string{"/usr/bin/booster"}, forBooster},
	} {
		for _, program := range g.programs {
			found, err := rootfs.Exists(t, program)
			if err != nil {
				return nil, fmt.Errorf("cannot look for %s: %w", program, err)
			}
			if !found {
				continue
			}
			files, err := g.make(t, program, header, modules)
			if err != nil {
				return nil, err
			}
			out = append(out, files...)
			break
		}
	}
	return out, nil
}

// plainName keeps names from meaning anything in a shell.
func plainName(module string) bool {
	return module != "" && !strings.ContainsFunc(module, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// forInitramfsTools writes a hook: mkinitramfs(8) runs those of /etc after its own and
// before depmod. From version 0.143 on modules that hooks ask for are copied after
// them, so the hook has that done before it removes files.
func forInitramfsTools(_ rootfs.Tree, _, header string, modules []string) ([]File, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "#!/bin/sh\n%s", header)
	fmt.Fprintf(&b, `
case "${1:-}" in
prereqs) echo; exit 0 ;;
esac
set -e

mkdir -p "${DESTDIR:?}/etc/modprobe.d"
cp -p %[1]s "$DESTDIR%[1]s"
`, ConfigPath)
	if len(modules) > 0 {
		b.WriteString(`
. /usr/share/initramfs-tools/hook-functions
if command -v apply_add_modules >/dev/null; then apply_add_modules; fi
for module in`)
		for _, m := range modules {
			fmt.Fprintf(&b, " '%s'", strings.ReplaceAll(m, "_", "[-_]"))
		}
		b.WriteString(`; do
	find "$DESTDIR/" \( -name "$module.ko" -o -name "$module.ko.*" \) ! -type d -exec rm -f {} +
done
`)
	}
	return []File{{initramfsToolsHook, 0o755, b.Bytes(), "initramfs-tools leaves the modules out of the images it writes, and puts the modprobe.d file in"}}, nil
}

// forDracut writes a part of dracut.conf(5), which is read by a shell.
func forDracut(_ rootfs.Tree, _, header string, modules []string) ([]File, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\ninstall_items+=\" %s \"\n", header, ConfigPath)
	if len(modules) > 0 {
		fmt.Fprintf(&b, "omit_drivers+=\" %s \"\n", strings.Join(modules, " "))
		b.WriteString("\n# A driver that is asked for is not omitted.\n")
		for _, list := range []string{"add_drivers", "force_drivers", "drivers"} {
			fmt.Fprintf(&b, "%[1]s=\" ${%[1]s// /  } \"\n", list)
			for _, m := range modules {
				for _, name := range slices.Compact([]string{m, strings.ReplaceAll(m, "_", "-")}) {
					fmt.Fprintf(&b, "%[1]s=\"${%[1]s// %[2]s / }\"\n", list, name)
				}
			}
		}
	}
	return []File{{dracutConf, 0o644, b.Bytes(), "dracut leaves the modules out of the images it writes, and puts the modprobe.d file in"}}, nil
}

// forMkinitcpio writes a part of mkinitcpio.conf(5), for those that read parts.
func forMkinitcpio(t rootfs.Tree, program, header string, _ []string) ([]File, error) {
	text, err := rootfs.ReadFile(t, program, maxProgram)
	if err != nil {
		return nil, fmt.Errorf("cannot read mkinitcpio: %w", err)
	}
	if !bytes.Contains(text, []byte("mkinitcpio.conf.d")) && !bytes.Contains(text, []byte("_d_config_dir")) {
		return nil, nil // its hook modconf copies /etc/modprobe.d
	}
	data := fmt.Appendf(nil, "%s\nFILES+=(%s)\n", header, ConfigPath)
	return []File{{mkinitcpioConf, 0o644, data, "mkinitcpio puts the modprobe.d file into the images it writes; it has no way to leave modules out"}}, nil
}

// forBooster edits the one file of booster, line by line: its lists are plain words
// on the line of their key.
func forBooster(t rootfs.Tree, _, header string, modules []string) ([]File, error) {
	old, err := rootfs.ReadFile(t, boosterConf, maxProgram)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read booster's configuration: %w", err)
	}
	if len(old) == 0 {
		old = []byte(header)
	}
	var out []string
	for _, m := range modules {
		out = append(out, "-"+m)
	}
	data, err := addToList(old, "modules", out)
	if err != nil {
		return nil, err
	}
	if data, err = addToList(data, "extra_files", []string{ConfigPath}); err != nil {
		return nil, err
	}
	return []File{{boosterConf, 0o644, data, "booster leaves the modules out of the images it writes, and puts the modprobe.d file in"}}, nil
}

// addToList adds words to a comma-separated list of a YAML file, once.
func addToList(text []byte, key string, words []string) ([]byte, error) {
	if len(words) == 0 {
		return text, nil
	}
	lines := strings.SplitAfter(string(text), "\n")
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, key+":") })
	if at < 0 {
		if len(text) > 0 && text[len(text)-1] != '\n' {
			lines = append(lines, "\n")
		}
		lines = append(lines, fmt.Sprintf("%s: %s\n", key, strings.Join(words, ",")))
		return []byte(strings.Join(lines, "")), nil
	}
	line := strings.TrimRight(lines[at], "\r\n")
	list := strings.TrimSpace(strings.TrimPrefix(line, key+":"))
	if list == "" || strings.ContainsAny(list, "'\"[]{}|>#&*! ") && list != "-*" && !strings.HasPrefix(list, "-*,") {
		return nil, fmt.Errorf("%s: list %s is %q, which is not words with commas between: add %s by hand", boosterConf, key, list, strings.Join(words, ","))
	}
	all := strings.Split(list, ",")
	for _, w := range words {
		if !slices.Contains(all, w) {
			all = append(all, w)
		}
	}
	lines[at] = key + ": " + strings.Join(all, ",") + lines[at][len(line):]
	return []byte(strings.Join(lines, "")), nil
}
