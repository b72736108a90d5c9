package modprobe

import "path"

// File gives the literal path of a module's file.
func (i *Index) File(module string) (file string, found bool) {
	file, _, found = i.text.dependencies(moduleName(module))
	if !path.IsAbs(file) {
		file = path.Join(i.Dir, file)
	}
	return file, found
}

// Needs gives the modules that are inserted before a module, by name.
func (i *Index) Needs(module string) (needs []string, found bool) {
	_, files, found := i.text.dependencies(moduleName(module))
	for _, file := range files {
		needs = append(needs, fileModule(file))
	}
	return needs, found
}
