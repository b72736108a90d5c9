package imgtest

import (
	"os"
	"path/filepath"
	"strings"
)

// WriteFiles writes files, and the directories above them, below the directory dir.
// Content "-> TARGET" makes a symbolic link.
func WriteFiles(dir string, mode os.FileMode, files map[string]string) error {
	for name, content := range files {
		file := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if target, ok := strings.CutPrefix(content, "-> "); ok && err == nil {
			err = os.Symlink(target, file)
		} else if err == nil {
			err = os.WriteFile(file, []byte(content), mode)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
