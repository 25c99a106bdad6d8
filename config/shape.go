package config

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"

	"ferry"
	"ferry/shape"
)

// loadSchema reads the JSON Schema at a path, with the files that it refers to,
// and checks that it can be used.
func (d *decoder) loadSchema(path, file string) json.RawMessage {
	if file == "" {
		return nil
	}
	document, err := shape.Bundle(file, readSchema)
	if err == nil {
		_, err = shape.CompileSchema(document)
	}
	if err != nil {
		message, hint := sentence(err)
		d.at(path, hint, "%s: %s: %s", path, clip(file), message)
		return nil
	}
	return document
}

func readSchema(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err == nil {
		defer func() { _ = f.Close() }() // read only: nothing to lose
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(f, shape.MaxSchema+1)); err == nil {
			return data, nil
		}
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return nil, ferry.Errorf(ferry.CodeBadConfig, "%s cannot be read: %v", clip(name), err).
		WithHint("relative paths count from the working directory, and in a schema's $ref from the schema's file")
}
