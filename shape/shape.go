// Package shape says what a body at the broker's door may look like, and brings
// it into that form: JSON Schema, CloudEvents, XML and forms, and jq over what
// comes in and goes out. It keeps nothing and reads nothing by itself.
package shape

// Limits.
const (
	// MaxSchema is how large a schema may be, bytes, with all files that it refers to.
	MaxSchema = 1 << 20
	// MaxSchemaFiles is of how many files a schema may be made.
	MaxSchemaFiles = 50
)
