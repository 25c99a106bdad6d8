// Package practice is an ERP to practise on: an HTTP service with documents and
// numbers of its own, that fails on command in the ways real ones do.
//
// It takes invoices, as JSON or XML, and numbers them INV-000001 and so on; it
// can be asked for them by the sender's key or by number. What it wrote, and how
// often it was called, can be asked as well: that is how tests prove that a
// message arrived once.
//
//	POST /invoices                  201, Location, {"id": "INV-000001", "externalId": …}
//	GET  /invoices?externalId=KEY   {"items": [{"id": …}]}
//	GET  /invoices/NUMBER           the document, or 404
//	GET  /ping                      200
//	GET  /documents                 {"count": …, "items": […]} with the bodies; ?externalId=KEY
//	GET  /_state                    calls, faults met, documents, highest concurrency, keys written more than once, overlaps
//	POST /_faults                   a Fault, or a list of them, to be met by the next calls, or by chance
//	DELETE /_faults                 forget them
//	PUT  /_settings                 {"onDuplicate": "conflict", "required": ["number"], "orderBy": "account", "seed": 7}
//
// The key is taken from Idempotency-Key, else from Ferry-Message-Id.
package practice
