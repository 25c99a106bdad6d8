package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.etcd.io/bbolt"
)

// The environment of a control: this test binary, run as a little store that
// answers "I have it" as others do. It shows what a power cut costs there, and so
// that the tests of the real broker would see a loss.
const (
	controlKind   = "FERRY_E2E_CONTROL"        // see controls
	controlListen = "FERRY_E2E_CONTROL_LISTEN" // its HTTP address
	controlDir    = "FERRY_E2E_CONTROL_DIR"    // its data
)

// keeper keeps keys.
type keeper interface {
	put(key string) error // nil: "I have it"
	keys() ([]string, error)
}

// control serves until it is killed: POST keeps the body, GET lists what is kept.
func control(kind string) int {
	open := map[string]func(dir string) (keeper, error){
		"bbolt":        func(dir string) (keeper, error) { return openTree(dir, false) },
		"bboltNoSync":  func(dir string) (keeper, error) { return openTree(dir, true) },
		"queueAsStore": openQueue,
	}[kind]
	if open == nil {
		fmt.Fprintln(os.Stderr, "no such control:", kind)
		return 2
	}
	k, err := open(os.Getenv(controlDir))
	if err == nil {
		err = http.ListenAndServe(os.Getenv(controlListen), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := answerControl(k, w, r); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
			}
		}))
	}
	fmt.Fprintln(os.Stderr, "control:", err)
	return 1
}

func answerControl(k keeper, w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodPost {
		key, err := io.ReadAll(io.LimitReader(r.Body, 1<<10))
		if err == nil {
			err = k.put(string(key))
		}
		return err
	}
	keys, err := k.keys()
	if err == nil {
		_, err = io.WriteString(w, strings.Join(keys, "\n"))
	}
	return err
}

// tree is a bbolt file, with or without its fsyncs.
type tree struct{ db *bbolt.DB }

func openTree(dir string, noSync bool) (keeper, error) {
	db, err := bbolt.Open(filepath.Join(dir, "keys.db"), 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return nil, err
	}
	db.NoSync, db.NoGrowSync = noSync, noSync
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists([]byte("keys"))
		return err
	})
	return &tree{db}, err
}

func (t *tree) put(key string) error {
	return t.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("keys")).Put([]byte(key), nil) })
}

func (t *tree) keys() (keys []string, err error) {
	err = t.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("keys")).ForEach(func(k, _ []byte) error {
			keys = append(keys, string(k))
			return nil
		})
	})
	return keys, err
}

// queueStore is a queue taken for a store: JetStream with a file stream and its
// default sync.
type queueStore struct{ js nats.JetStreamContext }

func openQueue(dir string) (keeper, error) {
	s, err := server.NewServer(&server.Options{DontListen: true, NoLog: true, NoSigs: true, JetStream: true, StoreDir: dir})
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return nil, errors.New("the queue does not start")
	}
	conn, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		return nil, err
	}
	js, err := conn.JetStream()
	if err == nil {
		_, err = js.AddStream(&nats.StreamConfig{Name: "keys", Subjects: []string{"keys"}, Storage: nats.FileStorage})
	}
	return &queueStore{js}, err
}

func (q *queueStore) put(key string) error {
	_, err := q.js.Publish("keys", []byte(key))
	return err
}

func (q *queueStore) keys() (keys []string, err error) {
	info, err := q.js.StreamInfo("keys")
	if err != nil {
		return nil, err
	}
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
		if m, err := q.js.GetMsg("keys", seq); err == nil {
			keys = append(keys, string(m.Data))
		}
	}
	return keys, nil
}
