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

// storedStreams lists the streams that lie in the store's folder, each with the
// consumers that lie in its own.
func storedStreams(dir string) map[string][]string {
	top := filepath.Join(dir, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams")
	streams := make(map[string][]string)
	for _, name := range folders(top) {
		if name == messageStream || name == receiptStream {
			streams[name] = folders(filepath.Join(top, name, "obs"))
		}
	}
	return streams
}

// folders lists those in dir: none where there is no dir, or one that the server
// will complain about.
func folders(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// checkStreams finds out whether the server could read every stream and every
// consumer: it starts without those that it could not, and a consumer whose
// files are in the way cannot be made anew.
func checkStreams(ns *server.Server, expected map[string][]string) error {
	info, err := ns.Jsz(&server.JSzOptions{Accounts: true, Streams: true, Consumer: true})
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	have := make(map[string]bool)
	for _, account := range info.AccountDetails {
		for _, stream := range account.Streams {
			have[stream.Name] = true
			for _, consumer := range stream.Consumer {
				have[stream.Name+"/"+consumer.Name] = true
			}
		}
	}
	for name, consumers := range expected {
		if !have[name] {
			return fmt.Errorf("%w: the stream %s cannot be read", errDamaged, name)
		}
		for _, consumer := range consumers {
			if !have[name+"/"+consumer] {
				return fmt.Errorf("%w: how far %s of the stream %s is cannot be read", errDamaged, consumer, name)
			}
		}
	}
	return nil
}

// moveAside renames the store's folder and returns its new name.
func moveAside(dir string, now time.Time) (string, error) {
	aside := dir + ".damaged-" + now.UTC().Format("20060102T150405.000")
	return aside, os.Rename(dir, aside)
}
