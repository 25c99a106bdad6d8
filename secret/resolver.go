package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"ferry"
)

// MaxSize bounds a secret read from a file, in bytes.
const MaxSize = 64 << 10

// Resolver reads what references point at. It keeps nothing: every Resolve
// reads anew, so that a rotated secret is seen without a restart; what a [Vault]
// keeps is its own. The zero Resolver reads this process's environment and files;
// it may be used concurrently.
type Resolver struct {
	// LookupEnv stands in for os.LookupEnv.
	LookupEnv func(name string) (string, bool)
	// Vault reads secrets of Azure Key Vault; nil: references to it are refused.
	Vault Vault
}

// Resolve reads the secret. An error is a *ferry.Error that names the
// reference, never the secret. An empty secret is an error: it is a mistake
// more often than a password.
func (r Resolver) Resolve(ref Ref) (Value, error) {
	if _, err := ParseRef(string(ref)); err != nil {
		return Value{}, err
	}
	s := string(ref)
	switch {
	case strings.HasPrefix(s, envPrefix):
		return r.fromEnv(s[len(envPrefix):])
	case strings.HasPrefix(s, filePrefix):
		return fromFile(s[len(filePrefix):])
	default:
		v, _ := ref.Vault() // parsed above
		if r.Vault == nil {
			return Value{}, ferry.Errorf(ferry.CodeBadConfig, "the secret %s: Azure Key Vault cannot be asked here", ref).
				WithHint("in this place write env:NAME or file:PATH")
		}
		return r.Vault.Secret(v)
	}
}

// Refused tells that whoever was given the secret did not take it: where it is
// kept, it is read anew. True: it is another one than was by now, so that one more
// try makes sense. A zero was stands for the secret as it was last read.
func (r Resolver) Refused(ref Ref, was Value) bool {
	if v, ok := ref.Vault(); ok {
		return r.Vault != nil && r.Vault.Refused(v, was)
	}
	now, err := r.Resolve(ref)
	return err == nil && !was.IsZero() && now != was
}

// Past are values that the secret had shortly before this one, where that is known:
// answers may still quote them.
func (r Resolver) Past(ref Ref) []Value {
	if v, ok := ref.Vault(); ok && r.Vault != nil {
		return r.Vault.Past(v)
	}
	return nil
}

func (r Resolver) fromEnv(name string) (Value, error) {
	lookup := r.LookupEnv
	if lookup == nil {
		lookup = os.LookupEnv
	}
	text, ok := lookup(name)
	if !ok || text == "" {
		state := "not set"
		if ok {
			state = "empty"
		}
		return Value{}, ferry.Errorf(ferry.CodeBadConfig, "the secret env:%s: the environment variable is %s", name, state).
			WithHint("set %s for this process, or refer to a file by file:PATH", name)
	}
	return NewValue(text), nil
}

func fromFile(path string) (Value, error) {
	text, err := readFile(path)
	if err != nil {
		hint := "check that the path is right and that this process may read the file"
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err // the path is named already
		}
		return Value{}, ferry.Errorf(ferry.CodeBadConfig, "the secret file:%s: %w", path, err).WithHint("%s", hint)
	}
	return NewValue(text), nil
}

// readFile gives the file's text without one newline at its end, which editors
// and `echo` add.
func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // read only: nothing to lose
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return "", err
	}
	if len(data) > MaxSize {
		return "", fmt.Errorf("it is larger than %d bytes", MaxSize)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if text == "" {
		return "", errors.New("it is empty")
	}
	return text, nil
}
