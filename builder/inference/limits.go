package inference

// Limits on what a tree can make us read and keep.
const (
	// maxUnitFile is the largest unit file or drop-in in bytes. Real ones have a few KiB.
	maxUnitFile = 1 << 20
	// maxEntries is for the entries of all unit directories. A desktop has 1,000.
	maxEntries = 50_000
	// maxHomes bounds the users whose units are looked at: servers have a few.
	maxHomes = 1024
	// maxPasswd is the largest /etc/passwd in bytes.
	maxPasswd = 1 << 20
	// maxDepth bounds the directories below a quadlet directory that Podman walks through.
	maxDepth = 16
	// maxSettings bounds the assignments of one unit with its drop-ins.
	maxSettings = 20_000
	// maxAliases bounds a chain of links from name to name, as systemd does
	// (FOLLOW_MAX in src/shared/unit-file.c).
	maxAliases = 8
	// maxScript is the largest script, environment file, compose file or pod file in bytes
	// that is looked through; more than that is no configuration.
	maxScript = 256 << 10
	// maxScripts bounds what is looked through for one unit, in bytes: the same script counts
	// each time. The scripts of a unit have some KiB.
	maxScripts = 4 << 20
	// maxBytes bounds what is read in all. A desktop has 1 MiB of unit files; links and
	// instances make one file many, and each home brings those of all users again.
	maxBytes = 512 << 20
	// maxKept bounds the names that are remembered with where they lead, in bytes: on a
	// server 100 KiB. What is beyond is asked for each time.
	maxKept = 1 << 20
	// maxNames bounds the other names of one unit; real ones have one or two.
	maxNames = 64
	// maxNesting bounds scripts in scripts: a unit that runs a script that runs sh -c.
	maxNesting = 4
	// maxCommands bounds the commands looked at for one unit, scripts included.
	maxCommands = 5000
	// maxWords bounds the words of one command. A docker run has some 50.
	maxWords = 2000
	// maxValue is the largest value of a variable in bytes that is put in for its name.
	maxValue = 4096
	// maxEvidence is how many lines are named for one unit: enough to find it.
	maxEvidence = 4
	// maxShown is how much of a line is shown, in bytes.
	maxShown = 160
)
