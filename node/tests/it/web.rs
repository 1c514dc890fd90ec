//! The console and the services, as browsers, programs and attackers meet them: real processes, real sockets.

mod browser;
mod company;
mod hostile;
mod http;
mod people;
mod services;
mod webhooks;
