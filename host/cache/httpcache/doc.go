// Package httpcache knows the rules of HTTP caching: RFC 9111, with RFC 5861 (stale-while-revalidate, stale-if-error), RFC
// 9213 (CDN-Cache-Control), the platform's Surrogate-Control and Surrogate-Key, and the conditional and range requests of RFC 9110
// that a cache answers itself. It is the rules of a shared cache that stands in front of origins.
//
// It stores nothing and reads no clock: a caller brings messages and times, and gets back what to do. Policy.Judge says
// whether a response may be stored and what becomes of it, Request.Accepts whether a request takes a stored one, Conditional
// makes a request that asks whether it still holds, Merge takes over what a 304 says, and Answer makes the answer to a
// client. Head is what has to be kept beside a body, as bytes.
//
// What it promises: no input makes it panic or take more than linear time; where the RFCs leave a choice, or a message
// contradicts itself, the response counts as less fresh rather than more. Nothing here is changed by what it is given, except
// where a function says so. All of it is safe for concurrent use.
package httpcache
