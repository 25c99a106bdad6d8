// Package apispec reads descriptions of HTTP APIs (OpenAPI 3.x, Swagger 2.0) into
// a small model: operations, their parameters, bodies, answers and ways to log on.
//
// Loading, references and the conversion of Swagger 2.0 are kin-openapi's. Bodies
// are checked by santhosh-tekuri/jsonschema, for every version: it reckons with
// exact numbers, where kin-openapi's validator takes 64-bit floating point, in
// which 19.99 is no multiple of 0.01 and 9007199254740993 is its neighbour. Schemas
// of OpenAPI 3.0 are written as JSON Schema 2020-12 for it.
//
// Only what a route uses of a description is judged: a fault elsewhere in a
// vendor's file is no reason not to deliver.
//
// Sources: OpenAPI Specification 3.0.4 and 3.1.1, Swagger 2.0, JSON Schema 2020-12.
package apispec
