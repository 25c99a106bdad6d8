package main

import (
	"net/http"
	"time"

	"ferry"
)

const idSubscription = "019ab000-0000-7000-8000-00000000cb01"

func subscription() ferry.Subscription {
	id, _ := ferry.ParseID(idSubscription)
	return ferry.Subscription{
		ID: id, Event: ferry.EventCompleted, Route: "orders", Callback: "hooks.example/…0011", State: ferry.SubscriptionActive, KeyID: "k2", KeyName: "flow", Waiting: 2,
		Failing: &ferry.Failing{Since: at(-time.Hour), Tries: 9, Next: at(time.Minute), Why: "it answers 502"},
	}
}

func (f *fake) callbackRoutes(mux *http.ServeMux) {
	until := at(24 * time.Hour)
	mux.HandleFunc("GET /v1/subscriptions", func(w http.ResponseWriter, _ *http.Request) {
		dropped := subscription()
		dropped.ID[15]++
		dropped.Route, dropped.Waiting, dropped.Failing, dropped.State, dropped.DroppedWhy = "", 0, nil, ferry.SubscriptionDropped, "its key was revoked"
		answer(w, items(f, subscription(), dropped))
	})
	mux.HandleFunc("GET /v1/callbacks", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, items(f, ferry.CallbackTarget{Kind: ferry.ReplySubscription, Callback: "hooks.example/…0011", Waiting: 2},
			ferry.CallbackTarget{Kind: ferry.ReplyCallback, Callback: "flow.example/…0022", Route: "orders", Waiting: 1}))
	})
	mux.HandleFunc("GET /v1/operators", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, ferry.Operating{
			Targets: []ferry.OperatorTargetInfo{{Name: "on-call", Callback: "ops.example/…0033", Format: ferry.OperatorFormatEvent, Events: ferry.OperatorEventTypes(), Waiting: 1}},
		})
	})
	mux.HandleFunc("GET /v1/operators/{target}/secret", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, ferry.CallbackSecret{Secret: "whsec_operators"})
	})
	mux.HandleFunc("DELETE /v1/subscriptions/{id}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") != idSubscription {
			refuse(w, 404, ferry.Errorf(ferry.CodeNotFound, "there is no subscription"))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /v1/subscriptions/{id}/rotate", func(w http.ResponseWriter, _ *http.Request) {
		made := ferry.NewSubscription{Subscription: subscription(), Secret: "whsec_next"}
		made.OldSecretUntil = &until
		answer(w, made)
	})
	mux.HandleFunc("GET /v1/callbacks/secret", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, ferry.CallbackSecret{KeyID: "k1", Secret: "whsec_mine"})
	})
	mux.HandleFunc("POST /v1/callbacks/secret/rotate", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, ferry.CallbackSecret{KeyID: "k1", Secret: "whsec_other", OldUntil: &until})
	})
	mux.HandleFunc("POST /v1/callbacks/retry", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, ferry.RetryAnswer{Targets: 1, Told: 2})
	})
}
