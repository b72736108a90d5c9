package probe

import (
	"fmt"
	"syscall"
)

// LiveUname asks the running kernel (uname(2)).
func LiveUname() (Uname, error) {
	var u syscall.Utsname
	if err := syscall.Uname(&u); err != nil {
		return Uname{}, fmt.Errorf("cannot ask uname: %w", err)
	}
	return Uname{Release: text(u.Release[:]), Version: text(u.Version[:])}, nil
}

// text is a C string; its element type differs between architectures.
func text[T int8 | uint8](field []T) string {
	b := make([]byte, 0, len(field))
	for _, c := range field {
		if c == 0 {
			break
		}
		b = append(b, byte(c))
	}
	return string(b)
}
