package drivers

import (
	"context"
	"crypto/x509"
	"log/slog"
	"time"

	"ferry"
	"ferry/config"
	"ferry/internal/azure"
	"ferry/queue"
	"ferry/queue/blobbodies"
	"ferry/secret"
)

// ensureTimeout bounds how long a start waits for the store of bodies.
const ensureTimeout = 20 * time.Second

// bodyStore makes the store that large bodies travel by; nil without one. Nothing
// is called. The namespace's credential is that of the store too, unless it has
// its own.
func bodyStore(cfg *config.Bodies, namespace config.ServiceBus, secrets secret.Resolver) (*blobbodies.Store, error) {
	if cfg == nil {
		return nil, nil
	}
	options := blobbodies.Options{Lifetime: cfg.Lifetime}
	var roots *x509.CertPool
	if namespace.CA != "" {
		var err error
		if roots, err = azure.ReadCA(namespace.CA); err != nil {
			return nil, err
		}
	}
	options.HTTP = clientThrough(namespace.Proxy, roots)
	switch {
	case !cfg.SASURL.IsZero():
		text, err := secrets.Resolve(cfg.SASURL)
		if err != nil {
			return nil, err
		}
		options.SASURL = text.Reveal()
	case !cfg.ConnectionString.IsZero():
		text, err := secrets.Resolve(cfg.ConnectionString)
		if err != nil {
			return nil, err
		}
		options.ConnectionString, options.Container = text.Reveal(), cfg.Container
	default:
		who := cfg.Credential
		if who == (config.Credential{}) {
			who = namespace.Credential
		}
		credential, err := Credential(who, secrets)
		if err != nil {
			return nil, err
		}
		options.ContainerURL = cfg.Container
		if options.Credential, err = azure.New(credential, identityClient(credential.Kind, namespace.Proxy, roots)); err != nil {
			return nil, err
		}
	}
	return blobbodies.New(options)
}

// queueOptions are those of a queue with that store.
func queueOptions(store *blobbodies.Store, log *slog.Logger) queue.Options {
	o := queue.Options{Log: log}
	if store != nil { // an interface that holds a nil pointer is not nil
		o.Bodies = store
	}
	return o
}

// ensureBodies makes the container where it is missing. That it cannot be reached is
// no reason not to start: bodies come from the broker then.
func ensureBodies(ctx context.Context, store *blobbodies.Store, log *slog.Logger) {
	if store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, ensureTimeout)
	defer cancel()
	if err := store.EnsureContainer(ctx); err != nil && log != nil {
		log.Warn("bodies.store", "error", err.Error(), "next", "large bodies come from the broker, part by part",
			"hint", "the broker needs the role Storage Blob Data Contributor on the container")
	}
}

// BodyRefs opens the blobs that senders name in place of bodies; nil when the
// configuration allows none.
func BodyRefs(cfg *config.BodyRef, secrets secret.Resolver) (*azure.BlobRefs, error) {
	if cfg == nil {
		return nil, nil
	}
	if cfg.Credential == nil {
		return azure.NewBlobRefs(cfg.Accounts, nil, nil)
	}
	who, err := Credential(*cfg.Credential, secrets)
	if err != nil {
		return nil, err
	}
	credential, err := azure.New(who, nil)
	if err != nil {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "bodyRef: %w", err)
	}
	return azure.NewBlobRefs(cfg.Accounts, credential, nil)
}
