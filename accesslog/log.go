// Package accesslog writes one line of JSON for each request, to a file that it
// rotates or to a stream. Whoever adds a line never waits: what cannot be written
// in time is dropped and counted.
package accesslog
