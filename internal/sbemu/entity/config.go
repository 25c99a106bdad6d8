package entity

import (
	"fmt"
	"strings"
	"time"
)

// Limits of the service that are kept here too.
const (
	MaxLock      = 5 * time.Minute
	MaxNameChars = 260
	MaxIDChars   = 128 // of a message id, session id or partition key
	MaxQueues    = 10_000
	MaxReceivers = 5_000     // of one source
	MaxState     = 256 << 10 // bytes of a session's state

	MaxProperties = 64 << 10 // bytes of a message's application properties
)

// Status says what a queue lets through.
type Status string

// The states of a queue.
const (
	Active          Status = "Active"
	Disabled        Status = "Disabled"
	SendDisabled    Status = "SendDisabled"
	ReceiveDisabled Status = "ReceiveDisabled"
)

// Config is the settings of a queue. Zero values take the service's defaults.
type Config struct {
	Name               string
	LockDuration       time.Duration // default 1 min, at most MaxLock
	MaxDelivery        int           // deliveries before a message is dead-lettered; default 10
	DefaultTTL         time.Duration // of messages that say none, and the most; 0: for ever
	DeadLetterOnExpiry bool
	DuplicateWindow    time.Duration // 0: repeated message ids are not looked for
	RequiresSession    bool
	MaxMessageBytes    int64 // of one encoded message; default 256 KiB
	MaxBatchBytes      int64 // of one send of several messages; default MaxMessageBytes, but at most 1 MiB
	MaxSizeBytes       int64 // of all messages with the sub-queues; default 1 GiB
	Partitioned        bool  // only shown; nothing here is partitioned
	Status             Status
	UserMetadata       string
}

func (c Config) withDefaults() Config {
	c.Name = strings.Trim(c.Name, "/")
	if c.LockDuration == 0 {
		c.LockDuration = time.Minute
	}
	if c.MaxDelivery == 0 {
		c.MaxDelivery = 10
	}
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = 256 << 10
	}
	if c.MaxBatchBytes == 0 {
		c.MaxBatchBytes = min(c.MaxMessageBytes, 1<<20)
	}
	if c.MaxSizeBytes == 0 {
		c.MaxSizeBytes = 1 << 30
	}
	if c.Status == "" {
		c.Status = Active
	}
	return c
}

func (c Config) check() error {
	switch {
	case c.Name == "" || len(c.Name) > MaxNameChars || strings.ContainsAny(c.Name, "$?#@*\\ "):
		return fmt.Errorf("%w: the name %q", ErrInvalid, c.Name)
	case c.LockDuration < 0 || c.LockDuration > MaxLock:
		return fmt.Errorf("%w: a lock duration of %s, at most %s", ErrInvalid, c.LockDuration, MaxLock)
	case c.MaxDelivery < 0, c.DefaultTTL < 0, c.DuplicateWindow < 0, c.MaxMessageBytes < 0, c.MaxBatchBytes < 0, c.MaxSizeBytes < 0:
		return fmt.Errorf("%w: a limit below zero", ErrInvalid)
	case c.Status != Active && c.Status != Disabled && c.Status != SendDisabled && c.Status != ReceiveDisabled:
		return fmt.Errorf("%w: the status %q", ErrInvalid, c.Status)
	}
	return nil
}

func (c Config) sends() bool    { return c.Status == Active || c.Status == ReceiveDisabled }
func (c Config) receives() bool { return c.Status == Active || c.Status == SendDisabled }
