// Package packages lists what the package manager of a tree has installed: name,
// version and architecture, as its own database says.
//
// It reads the databases of dpkg (deb-control(5), dpkg-query(1); also the status.d of
// images without a package manager), apk (the file "installed": P:, V: and A: lines)
// and pacman (one directory NAME-VERSION-RELEASE for each package). RPM databases are
// found and not read: they are SQLite, ndb or Berkeley DB files. Snaps, flatpaks and
// the stores of Nix, Guix and Portage are left out. So are the files of packages.
package packages
