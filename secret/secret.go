// Package secret reads secrets by reference. A reference says where a secret
// lies (env:NAME, file:PATH); the secret itself never stands in a file of
// Ferry's, and a [Value] never prints.
package secret
