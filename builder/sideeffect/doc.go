// Package sideeffect finds in a tree who would miss a kernel module, before it is
// blocked: programs and services by package database, unit files and configuration, and
// kernel modules by modules.dep.
//
// Who needs what is data: [profiles.SideEffects]. An [Effect] is certain where the
// user is set to run: its unit starts at boot, or its configuration asks for the
// module. It is uncertain where something is merely installed that can use the module.
//
// What starts at boot is read as "systemctl is-enabled" reads it (systemctl(1)), and from
// the directories *.wants and *.requires that distributions ship; where a service has no
// unit file, from OpenRC's runlevels and from the links of System V. Presets, generators and
// instances of templates are left out. So are containers inside the tree, and what RPM's
// database lists: files and units are looked at there too, and [Report.Unread] says what was
// not read.
//
// Like package inference it knows both trees and profiles: it judges, and has no format of
// its own.
package sideeffect
