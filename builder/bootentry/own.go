package bootentry

// Files of our own that templates read after all others.
const (
	grubDropIn    = "/etc/default/grub.d/zz-kerngate.cfg"
	ubootDropIn   = "/etc/u-boot-menu/conf.d/zz-kerngate.conf"
	cmdlineDropIn = "/etc/cmdline.d/zz-kerngate.conf"
)

// OwnFiles lists the paths of the files that [Config.Splice] may make, before links in
// the tree are followed. All others that it changes are there already.
func OwnFiles() []string { return []string{grubDropIn, ubootDropIn, cmdlineDropIn} }
