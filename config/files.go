package config

import (
	"crypto/sha256"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
)

// fileSum is what a file holds that is named by a key and read when something is made
// of the configuration. It stands beside the key, under its name: a renewed file is
// another value of the key.
type fileSum [sha256.Size]byte

// sumOf is zero for no file, and for one that cannot be read, which a check tells.
func sumOf(file string) (sum fileSum) {
	const most = 4 << 20
	if file == "" {
		return sum
	}
	f, err := os.Open(file)
	if err != nil {
		return sum
	}
	defer func() { _ = f.Close() }() // read only: nothing to lose
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, most)); err != nil {
		return sum
	}
	h.Sum(sum[:0])
	return sum
}

// readFile wants a file to be there, and says what it holds.
func (d *decoder) readFile(path, file string) fileSum {
	d.checkFile(path, file)
	return sumOf(file)
}

// Files lists the files that a running broker takes over when they change, beside
// broker.yaml itself: the schemas that it names, without what these refer to, and the
// certificates of keys that do not wait for a start.
func (b *Broker) Files() []string {
	var files []string
	note := func(file string) {
		if file != "" && !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	for i := range b.Routes {
		note(b.Routes[i].Schema)
		for j := range b.Routes[i].Versions {
			note(b.Routes[i].Versions[j].Schema)
		}
	}
	summed(reflect.ValueOf(b), note)
	return files
}

// summed tells the files below v whose content stands beside their name.
func summed(v reflect.Value, note func(file string)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			summed(v.Elem(), note)
		}
	case reflect.Slice:
		for i := range v.Len() {
			summed(v.Index(i), note)
		}
	case reflect.Struct:
		t := v.Type()
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if f.Tag.Get("yaml") == "" || f.Tag.Get("reload") == reloadStart {
				continue
			}
			if sum, ok := t.FieldByName(name); ok && sum.Type == reflect.TypeFor[fileSum]() {
				note(v.Field(i).String())
				continue
			}
			summed(v.Field(i), note)
		}
	}
}
