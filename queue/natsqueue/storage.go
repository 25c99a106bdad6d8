package natsqueue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// errDamaged says that the store on disk cannot be used as it is.
var errDamaged = errors.New("the queue's store is damaged")

// storedStreams lists the streams that lie in the store's folder.
func storedStreams(dir string) []string {
	entries, err := os.ReadDir(filepath.Join(dir, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams"))
	if err != nil {
		return nil // none, or a folder that the server will complain about
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && (e.Name() == messageStream || e.Name() == receiptStream) {
			names = append(names, e.Name())
		}
	}
	return names
}

// checkStreams finds out whether the server could read every stream: it starts
// without those that it could not.
func checkStreams(ns *server.Server, expected []string) error {
	info, err := ns.Jsz(&server.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	have := make(map[string]bool)
	for _, account := range info.AccountDetails {
		for _, stream := range account.Streams {
			have[stream.Name] = true
		}
	}
	for _, name := range expected {
		if !have[name] {
			return fmt.Errorf("%w: the stream %s cannot be read", errDamaged, name)
		}
	}
	return nil
}

// moveAside renames the store's folder and returns its new name.
func moveAside(dir string, now time.Time) (string, error) {
	aside := dir + ".damaged-" + now.UTC().Format("20060102T150405.000")
	return aside, os.Rename(dir, aside)
}
