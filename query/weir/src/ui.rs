//! The web page, embedded: `ui/dist` as Vite built it, served as the fallback of the API's router.
