//! A live branch's ports: forwarder, protocol and client.
