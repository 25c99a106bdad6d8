// Package faultfs is a file system for tests whose power can be cut and whose
// disk fails when told to. It runs on Linux, as root, by FUSE; on other systems
// the package is empty. Nothing but tests may import it.
//
// The disk is in memory, twice per file: what the programs see, and what is
// durable. A write goes into the first only. fsync of a file makes its data and
// its size durable, and its name when it has no durable one yet, as ext4 does.
// fsync of a directory makes the names in it durable; a file renamed, or one in a
// directory that has no durable name, is not there after a cut without it. This
// is as strict as POSIX allows, and stricter than most disks.
//
// Cut drops what is not durable. With a seed some of it survives all the same, as
// on real disks: each block of 4 KiB by chance, whole or torn at sectors of 512
// bytes, in no order; sizes by chance; names in the order they were made, up to
// some point. The file system is mounted anew, so that no cache of the kernel
// shows what was lost.
//
// The process that serves the file system must not map its files into memory: a
// page fault stops a thread without telling the Go runtime, which may be the one
// that would have served it. Programs under test run as processes of their own.
package faultfs
