// Package disk asks the operating system about the disk below a path, where the
// standard library does not.
package disk
