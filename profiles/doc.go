// Package profiles reads the files that say what kerngate does to an image, ships
// seven of them, and holds the table of kernel modules that they may name.
//
// # A profile
//
// A profile is a TOML file of at most 64 KiB:
//
//	schema = 1                              # required: the version of this form
//	name = "gpu-rack"                       # required: 1 to 64 of a-z, 0-9 and -
//	description = "Racks 4 to 9"            # required: one line
//	extends = ["llm-node"]                  # shipped profiles, or paths relative to this file
//	accept = ["ipsec"]                      # side effects that are wanted all the same
//
//	[kernel]
//	floor = "7.0.10"                        # lowest kernel release allowed to run
//	advisories = ["CVE-2026-46300"]         # CVEs that must be closed: shipped, or paths relative to this file
//	accept_fixed = false                    # the default; true lets a kernel below the floor pass if all are closed
//	accept_mitigated = false                # the default; true takes a CVE for closed whose modules cannot be loaded
//	unknown = "refuse"                      # the default; or "pass", above the floor only
//	max_age = 365                           # days after its date that an advisory holds; for ever if not said
//	stale = "unknown"                       # the default: what becomes of "fixed" after that; or "warn"
//
//	[kernel.pin]                            # keep the package manager in the range
//	mode = "floor"                          # "none", the default; "floor", "branch" or "exact"
//	ceiling = "8.0"                         # the first release that is not allowed any more
//	boot_below_floor = "demote"             # "keep", the default; "demote" or "remove": the boot menu
//
//	[[module]]
//	name = "rds*"                           # a known module, or a glob of * and ? over them
//	reason = "CVE-2026-43494"               # required: one line; CVE identifiers are found in it
//	block = ["modprobe", "initramfs", "cmdline", "initcall"] # the default; [] only watches
//	remove = false                          # the default; true deletes the module's files
//	refuse_if = ["loaded", "builtin"]       # the default; [] only blocks
//
//	[gate]
//	units = ["my-model.service", "my-model@.service", "my-model-.service"]
//	except = ["whisper-client.service"]     # may start whatever the gate says: names, or globs of * and ?
//	recheck = "start"                       # the default; or "boot"
//	harden = true                           # the default; false leaves the units their address families
//	breach = "stop"                         # the default; or "report" or "ignore": a module loaded later
//	on_refuse = "block"                     # the default; or "reboot" or "poweroff"
//	boot_assessment = false                 # the default; true: a refused boot entry is never marked as good
//	override = false                        # the default; true heeds initcheck.override=REASON at boot
//
//	[report]                                # who else is told; nobody if not said
//	motd = true                             # whoever logs in, after a refusal
//	node_exporter = true                    # metrics; or the exporter's directory of text files
//	node_problem_detector = true            # a condition of the Kubernetes node
//	node_feature_discovery = true           # labels of the Kubernetes node
//
// block lists the mechanisms that keep the module out, each used where it applies:
// "modprobe", a file in modprobe.d; "initramfs", the same in every initramfs; "cmdline",
// module_blacklist= on every kernel command line; "initcall", initcall_blacklist= where a
// kernel has the module built in, which needs a module whose init function is known.
// remove deletes the files of the module, for appliances. refuse_if lists the states of
// the module in which the checker refuses: "loaded", it stands in /proc/modules;
// "builtin", it stands in modules.builtin of the running kernel. One of the two lists
// must have an element, unless the module is removed.
//
// accept lists side effects, such as that IPsec stops working. Where a side effect is
// certain and not accepted, the builder refuses the image; see [Accept].
//
// advisories lists CVEs by what the shipped tables know of them, or tables of your own
// (kerngate advisories). The checker refuses a kernel in which one of them is open, also
// above the floor. A kernel that nobody's word covers is unknown: of somebody's own
// make, live patched, or of a distribution whose stream the table does not have.
//
// pin keeps package managers and boot loaders with kernels that the gate lets through; see
// [Pin].
//
// units names the services and sockets that the checker holds back: exact names,
// templates (my-model@.service) and prefixes (my-model-.service, which stands for every
// my-model-….service, see systemd.unit(5)). The builder refuses an image with an inference
// server that they do not stand for, by the table of [KnownServers], unless except has it;
// a word of except that takes nothing out of the gate is an error. recheck says when the checker
// decides: "boot" once, "start" again at each start of a unit, because a module can
// be loaded later. harden keeps the services from opening sockets of the families that
// lead to the modules. breach says what happens when a module with refuse_if "loaded" is
// loaded after boot: the units stop, or it is only said, or nobody watches. on_refuse
// adds an action of the machine to a refusal, boot_assessment holds back
// boot-complete.target. A profile without [gate] is a part for others to extend.
//
// report lists the channels that are off unless a profile asks for them. The console, the
// journal and the report in /run are told always. Nobody is told twice: a channel that
// any file asks for is on, and every directory that one names gets a link.
//
// # Strictness
//
// A key that is not above is an error, so that no setting looks as if it did
// something. So are a value of the wrong type, a module that is not known, a glob
// that matches none, a module that one file covers twice, and an empty list of units.
// All faults of all files come back at once, each with its file, line and key; see
// [Findings].
//
// # Extending
//
// A profile with extends is merged with what it names, and what those name, up to
// 8 files deep and 16 in all. Of every setting the strictest wins, wherever it stands:
// the highest floor, every module, every block and refuse_if of a module, every unit,
// every advisory, the smallest max_age, and remove = true, recheck = "start", harden = true
// and boot_assessment = true if any file says it; breach = "stop" before "report" before
// "ignore", on_refuse = "poweroff" before "reboot" before "block"; of pins the later word and
// the lower ceiling. override = true holds only if no file says false. accept_fixed, accept_mitigated, unknown = "pass" and stale = "warn" hold only if no
// file that they are about lacks them. So a file can add to what it
// extends and cannot take from it, not even by saying less: refuse_if = ["loaded"] on a
// module that the other file refuses as builtin too leaves both. To weaken a profile,
// write another. Only accept and except add up too and are not stricter for it. Reasons are joined
// with ", ". Units keep the order in which they are first seen, the extended files' first.
//
// # What is left out
//
// Parameters in files, conditions, and includes from the network. Whether an image
// can follow a profile is for the builder to find out.
package profiles
