#!/bin/sh
sh /usr/local/lib/load-paths/initramfs
