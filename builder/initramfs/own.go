package initramfs

// OwnFiles lists the paths of all files that [GeneratorFiles] may give.
func OwnFiles() []string {
	return []string{initramfsToolsHook, dracutConf, mkinitcpioConf, boosterConf}
}
