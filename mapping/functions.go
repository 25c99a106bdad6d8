package mapping

import "github.com/itchyny/gojq"

// functions are what programs get beyond jq; the package's comment explains them.
func functions() []gojq.CompilerOption {
	return decimalFunctions()
}
