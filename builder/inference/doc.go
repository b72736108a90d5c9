// Package inference finds the units of a tree that look like inference servers, and those
// that start containers or pods, by the table of package profiles: by the unit's name, by
// the commands that it runs, by the container images that it starts.
//
// It reads services and sockets of the system and of users as systemd loads them
// (systemd.unit(5), systemd.syntax(7), systemd.service(5), systemd.socket(5)), with
// masks, overrides, drop-ins, aliases, templates and instances, and quadlets
// (podman-systemd.unit(5)) under the names of the services that they become. Commands are
// looked through: env and its like, sh -c, shell and Python scripts of the tree, docker run
// and podman run, compose files and pod files.
//
// It leaves out what no file of the tree shows: containers that a daemon restarts by itself,
// pods, units that generators other than Podman's make, and programs of which a unit says
// neither name nor model. It leaves out cron and what users start by hand.
package inference
