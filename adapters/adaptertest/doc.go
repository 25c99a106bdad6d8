// Package adaptertest is the conformance suite for adapters: what every adapter
// of an HTTP destination must do when things go wrong, proved against the
// practice ERP of package practice.
//
// A new adapter's test is one call:
//
//	adaptertest.Run(t, adaptertest.Harness{Open: …, Destination: …, Route: …})
package adaptertest
